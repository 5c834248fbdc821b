"""Reads the bodies and queries of requests."""

import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_args, overload

import msgspec

from ash.errors import BadRequest
from ash.escapes import has_half_characters, has_many_escapes
from ash.model import SessionStatus
from ash.protocol import with_whole_characters
from ash.requests.half_characters import half_character, refuse_half_characters
from ash.requests.loose_values import read_loosely
from ash.requests.unknown_fields import unknown_fields

T = TypeVar("T")

TOO_MANY_ESCAPES = "The body has halves of characters, and too many escapes to mend them"

# No real body has so many. A megabyte of empty lists would take 30 ms of the event loop.
MAX_PARTS = 20_000

# The largest whole number up to which JavaScript has them all.
MAX_NUMBER = 2**53 - 1


def decode(
    body: bytes | bytearray,
    shape: msgspec.json.Decoder[T],
    *,
    typos: bool = True,
    mend: bool = False,
    parts: int = MAX_PARTS,
) -> T:
    """The body as that shape. An empty body means `{}`. Raises BadRequest, naming the field.

    Unknown fields are ignored, but for `typos` of known ones, which are refused. Halves of
    characters are refused too, unless they are to be replaced: to `mend` is right for what a model
    reads, and wrong for a name or a value. More objects and lists than `parts` are refused.
    """
    return decode_with_warnings(body, shape, typos=typos, mend=mend, parts=parts)[0]


def decode_with_warnings(
    body: bytes | bytearray,
    shape: msgspec.json.Decoder[T],
    *,
    typos: bool = True,
    mend: bool = False,
    parts: int = MAX_PARTS,
) -> tuple[T, list[str]]:
    """What `decode` gives, and a warning for each field that has no effect."""
    # Some editors and Windows tools write the mark at the start of a text; JSON does not have it.
    body = body.removeprefix(BOM_UTF8)
    if body.count(b"{") + body.count(b"[") > parts:
        raise BadRequest(f"The body has more than {parts:,} objects and lists")
    try:
        decoded = shape.decode(body or b"{}")
        warnings = unknown_fields(body, shape.type) if typos else []
    except msgspec.ValidationError as error:
        if (loose := read_loosely(body, error)) is not None:
            return decode_with_warnings(loose, shape, typos=typos, mend=mend, parts=parts)
        raise BadRequest(explain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if not mend and has_half_characters(body):
            refuse_half_characters(body)
        if mend and has_many_escapes(body):
            raise BadRequest(
                "The body has halves of characters, and too many escapes to mend it"
            ) from None
        if mend and (mended := with_whole_characters(bytes(body))) != body:
            return decode_with_warnings(mended, shape, typos=typos, mend=mend, parts=parts)
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None
    return decoded, warnings


def encode(fields: Mapping[str, Any]) -> bytes:
    """The body of a request with these fields. Raises BadRequest."""
    try:
        return msgspec.json.encode(fields)
    except UnicodeEncodeError:
        raise half_character(fields) from None
    except (TypeError, ValueError) as error:
        raise BadRequest(f"This can't be sent as JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def explain(error: msgspec.ValidationError, prefix: str = "") -> str:
    """The name of the field, then the rule that it broke."""
    rule, _, place = str(error).replace(r"\\Z", "$").partition(" - at `")
    path = (prefix + place.removeprefix("key` in `").removeprefix("$").rstrip("`")).lstrip(".")
    if missing := re.search(r"missing required field `(\w+)`", rule):
        return f"{path}.{missing[1]}".lstrip(".") + ": this field is required"
    if r"matching regex '^[^\\0]*" in rule:
        return f"{path}: a NUL can't be part of this value"
    if words := re.search(r"matching regex '\^\(([\w|]+)\)\$", rule):
        return f"{path}: expected one of {words[1].replace('|', ', ')}"
    return f"{path or 'body'}: {rule[0].lower()}{rule[1:]}".replace("`", '"')


Get = Callable[[str], Any]


def session_page(get: Get) -> dict[str, Any]:
    """The arguments of `Sessions.find`. Like all functions below it raises BadRequest."""
    return {
        "agent": get("agent") or None,
        "status": choice(get, "status", get_args(SessionStatus)),
        "limit": whole_number(get, "limit", 1000, least=1, most=1000),
        "offset": whole_number(get, "offset", 0),
    }


def message_page(get: Get) -> dict[str, int]:
    """The arguments of `Sessions.messages`."""
    limit = whole_number(get, "limit", 100, least=1, most=1000)
    return {"after": whole_number(get, "after", 0), "limit": limit}


def event_page(get: Get) -> dict[str, Any]:
    """The arguments of `Sessions.events`. There are no events of a type that is not known."""
    kind = get("type")
    return {
        "after": whole_number(get, "after", 0),
        "limit": whole_number(get, "limit", 200, least=1, most=1000),
        "kind": str(kind) if kind else None,
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
    """The parameter, which is a number or its digits. Raises BadRequest, naming its range."""
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
    """The parameter, which is one of `choices`. Raises BadRequest, naming these."""
    given = get(name)
    if given is None:
        return None
    for word in choices:
        if word == given:
            return word
    raise BadRequest(f'{name}: expected one of {", ".join(map(str, choices))}, got "{given}"')
