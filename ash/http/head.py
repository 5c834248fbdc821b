from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import h11

# What h11 must see, to know how the body is framed and whether the connection lives on.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})


class ResponseHead(NamedTuple):
    """The head of an answer, before it is sent."""

    framing: h11.Response
    other_lines: bytes


def build_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> ResponseHead:
    """Raises `h11.LocalProtocolError` for a header that can't be sent.

    h11 checks each header of an answer three times, for 20 µs at five headers. The headers
    that mean nothing to it are checked here, once for as long as they are remembered.
    """
    framing, other_lines = [], []
    for name, value in headers:
        if name.lower() in _FRAMING:
            framing.append((name, value))
        else:
            other_lines.append(_line(name, value))
    return ResponseHead(h11.Response(status_code=status, headers=framing), b"".join(other_lines))


def send_head(connection: h11.Connection, head: ResponseHead) -> bytes:
    """The bytes of the head, with which `connection` is where the head puts it."""
    framing = connection.send(head.framing)
    return b"%s%s\r\n" % (framing.removesuffix(b"\r\n"), head.other_lines)


@lru_cache(maxsize=256)
def _line(name: bytes, value: bytes) -> bytes:
    h11.Response(status_code=200, headers=[(name, value)])
    return b"%s: %s\r\n" % (name, value)
