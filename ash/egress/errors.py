"""The errors by which the proxy answers a request itself."""

from ash.errors import AshError


class EgressRefused(AshError):
    """The request is not allowed; the text says why, and how to allow it."""

    status = 403


class Unreachable(AshError):
    """The request is allowed, but its host can't be reached or broke off."""

    status = 502


class Malformed(AshError):
    """The request is not HTTP/1.1, or could be understood in two ways."""

    status = 400

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
