"""The cause of a model call's failure, and what to do about it, in words for the session's user."""

import msgspec
from msgspec import Struct

# How much is quoted of what the endpoint says.
MAX_QUOTE = 300

NO_KEY = (
    "No key for the model endpoint is set: set ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or"
    " CLAUDE_CODE_OAUTH_TOKEN where the server starts, or give the session its own in extraEnv"
)


class Caller(Struct, frozen=True):
    """Who calls which endpoint: with a key or without, which may be the session's `own`."""

    endpoint: str
    has_key: bool
    own: bool


def refused(caller: Caller, status: int, body: bytes, pause: float | None) -> str:
    """For an answer that is an error; `pause` is how long the endpoint asks to wait."""
    if status == 401 and not caller.has_key:
        return NO_KEY
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
