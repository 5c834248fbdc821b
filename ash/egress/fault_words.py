"""The cause of a model call's failure, and what to do about it, in words for the session's user."""

import msgspec
from msgspec import Struct

# How much is quoted of what the endpoint says.
MAX_QUOTE = 300

NO_KEY = (
    "No key for the model endpoint is set: set ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or"
    " CLAUDE_CODE_OAUTH_TOKEN where the server starts, or give the session its own in extraEnv"
)

_CHECK_URL = "check anthropic_base_url (ANTHROPIC_BASE_URL)"


class Caller(Struct, frozen=True):
    """Who calls which endpoint: with a key or without, which may be the session's `own`."""

    endpoint: str
    has_key: bool
    own: bool


def refused(caller: Caller, status: int, body: bytes, pause: float | None) -> str:
    """For an answer that is an error; `pause` is how long the endpoint asks to wait."""
    if status == 401 and not caller.has_key:
        return NO_KEY
    if status == 404 and body.lstrip().startswith(b"<"):
        return (
            f"The model endpoint {caller.endpoint} does not have the path of a model call (404,"
            f" with a web page): {_CHECK_URL}"
        )
    said = _message(body)
    what = f"({status}: {said})" if said else f"({status})"
    text, cure = _of_status(caller, status)
    if pause is not None:
        cure = f"try again in {pause:g} s"
    return f"The model endpoint {caller.endpoint} {text} {what}{f': {cure}' if cure else ''}"


def unreachable(caller: Caller, cause: str) -> str:
    return (
        f"The model endpoint {caller.endpoint} can't be reached: {cause}. Check"
        " anthropic_base_url (ANTHROPIC_BASE_URL) and the network of the server"
    )


def connecting(caller: Caller, seconds: float) -> str:
    return f"The model endpoint {caller.endpoint} takes no connection yet, after {seconds:g} s"


def silent(caller: Caller, seconds: float) -> str:
    return f"The model endpoint {caller.endpoint} has sent nothing for {seconds:g} s"


def broke_off(caller: Caller) -> str:
    return f"The model endpoint {caller.endpoint} broke off in the middle of its answer"


def redirected(caller: Caller, status: int, to: str) -> str:
    """For an answer that sends the call elsewhere: `to`, a base URL, or empty if not said."""
    if not to:
        return _no_endpoint(caller, f"with a redirect to nowhere ({status})")
    return (
        f"The model endpoint {caller.endpoint} answers with a redirect to {to[:MAX_QUOTE]}:"
        " set anthropic_base_url (ANTHROPIC_BASE_URL) to that, if it is right"
    )


def other_type(caller: Caller, media: str) -> str:
    """For an answer of a content type that no model endpoint has."""
    what = "a web page" if media in {"text/html", "application/xhtml+xml"} else "something else"
    return _no_endpoint(caller, f"with {what} ({media[:MAX_QUOTE]})")


def empty(caller: Caller, status: int) -> str:
    return _no_endpoint(caller, f"with nothing ({status}, an empty body)")


def not_whole(caller: Caller, last: bytes, *, is_json: bool) -> str:
    """For an answer that ended without the end of a message; `last` may say why."""
    if said := _message(last):
        return f"The model endpoint {caller.endpoint} ended its answer with an error ({said})"
    if is_json:
        return _no_endpoint(caller, "with JSON that is no message")
    return f"The model endpoint {caller.endpoint} ended its answer before it was whole"


def _no_endpoint(caller: Caller, how: str) -> str:
    return (
        f"The model endpoint {caller.endpoint} answers {how}, not as a model endpoint: {_CHECK_URL}"
    )


def _of_status(caller: Caller, status: int) -> tuple[str, str]:
    whose = "in the session's extraEnv or the agent's env" if caller.own else "of the server"
    known = {
        401: ("refused the key", f"check ANTHROPIC_API_KEY, or the token, {whose}"),
        403: ("does not allow this call", f"check what the key {whose} may do"),
        404: ("does not have what was asked for", "check the model's name and anthropic_base_url"),
        429: ("limits the rate of calls", "try again later"),
        529: ("is overloaded", "try again later"),
    }
    failed = ("has failed", "try again later") if status >= 500 else ("refused the call", "")
    return known.get(status, failed)


class _Error(Struct):
    message: str = ""


class _Body(Struct):
    error: _Error | str = ""


def _message(body: bytes) -> str:
    """What the endpoint says, on one line; empty if it says it in no way that we know."""
    try:
        error = msgspec.json.decode(body, type=_Body).error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    text = error if isinstance(error, str) else error.message
    return " ".join(text.split())[:MAX_QUOTE]
