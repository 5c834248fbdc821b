"""Decodes base64 as clients write it: with line ends, url-safe, without padding."""

import binascii
from collections.abc import Iterable, Iterator

from ash.errors import BadRequest

# The url-safe alphabet has other characters in two places.
_STANDARD = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"

# How many characters are decoded at a time: 0.2 ms, in which nothing else runs.
PIECE = 64 * 1024


def in_pieces(text: bytes | memoryview) -> Iterator[bytes]:
    return (bytes(text[start : start + PIECE]) for start in range(0, len(text), PIECE))


def decoded_size(pieces: Iterable[bytes]) -> int:
    """The size of what a text in pieces stands for, if it is base64."""
    return sum(len(piece.translate(None, _SPACE + b"=")) for piece in pieces) * 3 // 4


def decoded(pieces: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Decodes a text in pieces. Raises BadRequest, with that name, where it is not base64."""
    rest, padded = b"", False
    for piece in pieces:
        rest += piece.translate(_STANDARD, _SPACE)
        whole = len(rest) // 4 * 4
        if whole:
            yield _decode(rest[:whole], name, padded=padded)
            # After the padding nothing may follow.
            padded = rest[whole - 1 : whole] == b"="
            rest = rest[whole:]
    if rest:
        yield _decode(rest + b"=" * (-len(rest) % 4), name, padded=padded)


def _decode(text: bytes, name: str, *, padded: bool) -> bytes:
    if not padded:
        try:
            return binascii.a2b_base64(text, strict_mode=True)
        except binascii.Error:
            pass
    raise BadRequest(f"{name} is not base64")
