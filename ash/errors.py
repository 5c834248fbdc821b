"""The errors that callers get, each with its HTTP status."""


class AshError(Exception):
    """An error whose text a caller can act on.

    Clients see the text unchanged, so it contains no paths of the host, secrets or tracebacks.
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


class UnsupportedMedia(AshError):
    status = 415


class Unavailable(AshError):
    """The request is fine, but can't be served now; try again after `retry_after` seconds."""

    status = 503

    def __init__(self, text: str, *, retry_after: int = 5) -> None:
        super().__init__(text, headers={"Retry-After": str(retry_after)})


class InsufficientStorage(AshError):
    """The session takes more of the disk than its limit allows: its owner has to make room."""

    status = 507


class EngineFailed(AshError):
    """The bridge or its engine failed: it did not start, died, or broke the protocol."""

    status = 502


class ConfigError(AshError):
    """A setting is invalid; the text names the setting, its source and what is allowed."""


class StartError(AshError):
    """The daemon can't start; its user sees the text as one line."""
