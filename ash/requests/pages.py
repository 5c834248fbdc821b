"""Which part of a list is asked for. `get` gives what was said under a name, None for nothing."""

from collections.abc import Callable
from typing import Any, TypeVar, get_args, overload

from ash.errors import BadRequest
from ash.model import EventType, SessionStatus

T = TypeVar("T")
Get = Callable[[str], Any]

# What a number in JavaScript holds.
MAX_NUMBER = 2**53 - 1


def session_page(get: Get) -> dict[str, Any]:
    """The arguments of `Sessions.find`. Raises BadRequest, as all below."""
    return {
        "agent": get("agent"),
        "status": choice(get, "status", get_args(SessionStatus)),
        "limit": whole_number(get, "limit", 100, least=1, most=1000),
        "offset": whole_number(get, "offset", 0),
    }


def message_page(get: Get) -> dict[str, int]:
    """The arguments of `Sessions.messages`."""
    limit = whole_number(get, "limit", 100, least=1, most=1000)
    return {"after": whole_number(get, "after", 0), "limit": limit}


def event_page(get: Get) -> dict[str, Any]:
    """The arguments of `Sessions.events`."""
    return {
        "after": whole_number(get, "after", 0),
        "limit": whole_number(get, "limit", 200, least=1, most=1000),
        "kind": choice(get, "type", get_args(EventType)),
    }


def log_page(get: Get) -> dict[str, int]:
    """The arguments of `Sessions.logs`."""
    return {"after": whole_number(get, "after", -1, least=-1)}


@overload
def whole_number(
    get: Get, name: str, default: int, *, least: int = ..., most: int = ...
) -> int: ...
@overload
def whole_number(
    get: Get, name: str, default: None, *, least: int = ..., most: int = ...
) -> int | None: ...
def whole_number(
    get: Get, name: str, default: int | None, *, least: int = 0, most: int = MAX_NUMBER
) -> int | None:
    """A number or its digits. Raises BadRequest, naming it and its range."""
    given = get(name)
    if given is None:
        return default
    try:
        number = int(given) if isinstance(given, str | int) else least - 1
    except ValueError:
        number = least - 1
    if not least <= number <= most:
        raise BadRequest(f'{name}: expected a whole number from {least} to {most}, got "{given}"')
    return number


def choice(get: Get, name: str, choices: tuple[T, ...]) -> T | None:
    """One of the words. Raises BadRequest, naming them."""
    given = get(name)
    if given is None:
        return None
    for word in choices:
        if word == given:
            return word
    raise BadRequest(f'{name}: expected one of {", ".join(map(str, choices))}, got "{given}"')
