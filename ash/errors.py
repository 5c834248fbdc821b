"""Every failure that a caller is told about, with the HTTP status that says it."""


class AshError(Exception):
    """A failure with words a caller can act on.

    The text is shown to clients as it is: no paths of the host, no secrets, no stack.
    """

    status = 500

    def __init__(self, text: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.headers = headers or {}


class BadRequest(AshError):
    status = 400


class Unauthorized(AshError):
    status = 401

    def __init__(self, text: str) -> None:
        super().__init__(text, headers={"WWW-Authenticate": "Bearer"})


class NotFound(AshError):
    status = 404


class MethodNotAllowed(AshError):
    status = 405


class Conflict(AshError):
    status = 409


class Gone(AshError):
    status = 410


class TooLarge(AshError):
    status = 413


class Unavailable(AshError):
    """Nothing is wrong with the request: try again after `retry_after` seconds."""

    status = 503

    def __init__(self, text: str, *, retry_after: int = 5) -> None:
        super().__init__(text, headers={"Retry-After": str(retry_after)})


class EngineFailed(AshError):
    """The bridge or its engine broke: it could not start, died, or spoke nonsense."""

    status = 502


class ConfigError(AshError):
    """A setting that can't be used; the text names the key, its source and the rule."""


class StartError(AshError):
    """The daemon can't start; the text is the one line that its user reads."""
