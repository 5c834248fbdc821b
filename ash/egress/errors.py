"""The errors by which the proxy answers a request itself."""

from ash.errors import AshError


class EgressRefused(AshError):
    """The request is not allowed; the text says why, and how to allow it."""

    status = 403


class Unreachable(AshError):
    """The request is allowed, but its host can't be reached or broke off.

    `again` says whether the client may try again, `cause` what failed, in words that are not for
    the sandbox, and `timed_out` that it is only a time that has run out.
    """

    status = 502

    def __init__(
        self, text: str, *, again: bool = True, cause: str = "", timed_out: bool = False
    ) -> None:
        super().__init__(text)
        self.again = again
        self.cause = cause or text
        self.timed_out = timed_out


class NoModelEndpoint(Unreachable):
    """What answers the call is no model endpoint, and will answer so again."""

    def __init__(self, cause: str) -> None:
        text = "The model endpoint answers in a way that is none of a model endpoint"
        super().__init__(text, again=False, cause=cause)


class NoKey(AshError):
    """The model endpoint wants a key, and there is none."""

    status = 401


class Malformed(AshError):
    """The request is not HTTP/1.1, or could be understood in two ways."""

    status = 400

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
