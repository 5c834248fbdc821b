"""Finds halves of characters: escaped surrogates without the other one of their pair."""

import json
from collections.abc import Iterator
from typing import Any

from ash.errors import BadRequest

# A larger body is not read again to find the field: the loop has no time for it.
_SEARCHED = 128 * 1024


def refuse_half_characters(body: bytes | bytearray) -> None:
    """Raises BadRequest, naming the field, for JSON that is known to have one."""
    try:
        # Unlike msgspec, this decoder takes them.
        value = json.loads(body) if len(body) <= _SEARCHED else None
        raise half_character(value)
    except (ValueError, RecursionError):
        raise half_character(None) from None


def half_character(value: Any) -> BadRequest:
    """The refusal of a value with such a half in it."""
    place = next(_halves(value, ""), "") or "body"
    return BadRequest(f"{place}: holds half of a surrogate pair, which is no text")


def _halves(value: Any, path: str) -> Iterator[str]:
    """The path of each text that has one; a name counts to the object that it is in."""
    if isinstance(value, str) and not _is_text(value):
        yield path
    elif isinstance(value, dict):
        for name, member in value.items():
            if not _is_text(name):
                yield path
            yield from _halves(member, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _halves(item, f"{path}[{index}]")


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
