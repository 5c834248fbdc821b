"""Tells of large JSON whether it holds halves of characters, before anybody replaces them."""

from ash.protocol import HALF

# No real text has so many: 250,000 signs beyond the usual ones, each written as two escapes.
MAX_ESCAPES = 500_000


def has_many_escapes(data: bytes | bytearray | memoryview) -> bool:
    """Whether `with_whole_characters` would take a second and more."""
    return bytes(data).lower().count(b"\\ud") > MAX_ESCAPES


def has_half_characters(data: bytes | bytearray) -> bool:
    """Whether `with_whole_characters` would replace anything; it takes no longer than a search."""
    return HALF.search(bytes(data).replace(rb"\\", b"")) is not None
