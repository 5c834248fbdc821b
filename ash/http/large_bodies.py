"""Bodies with files in them: base64 in JSON, up to 150 MB.

Decoding all of that at once would hold the GIL, and with it the event loop. So the long strings
are taken out before the JSON is decoded, and their base64 is decoded piece by piece.
"""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from secrets import token_hex
from typing import Any

import msgspec
from msgspec import Struct
from quart import request
from quart_trio.wrappers import TrioRequest

from ash.errors import BadRequest, Unavailable
from ash.http.asgi import check_encoding, too_large
from ash.requests.base64_text import in_pieces
from ash.requests.parsing import decode
from ash.sessions.files import MAX_BATCH

# A body without files. It takes 5 ms to read.
MAX_JSON = 1024 * 1024

# The files of an agent.
MAX_DEPLOY_BODY = 50 * 1024 * 1024

# base64 makes four bytes of each three. The rest is room for 500 paths of 4 KB with escapes.
MAX_UPLOAD_BODY = MAX_BATCH // 3 * 4 + 16 * 1024 * 1024

# What is left of a body when the long strings are taken out.
MAX_REST = 4 * 1024 * 1024

# All large bodies that are in memory at a time, messages among them.
MAX_HELD = 256 * 1024 * 1024

# Strings of that many bytes are taken out of the JSON; the decoder gets the shorter ones.
LONG = 4 * 1024

# How many bytes are searched at a time: some 10 µs.
STEP = 256 * 1024

# 10,000 files have some 60,000 strings. A body of nothing but quotes must not keep a thread busy.
MAX_STRINGS = 100_000

_LARGE_ROUTES = {
    re.compile(r"/api/sessions/[^/]+/files/?"): MAX_UPLOAD_BODY,
    re.compile(r"/api/agents(/check)?/?"): MAX_DEPLOY_BODY,
}
_string = msgspec.json.Decoder(str)


class AppRequest(TrioRequest):
    """Quart's request, with a larger body allowed on the routes that take files."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **more: Any) -> None:
        for route, most in _LARGE_ROUTES.items():
            if method == "POST" and route.fullmatch(path):
                more["max_content_length"] = most
        super().__init__(method, scheme, path, *rest, **more)
        # The 413 names the limit, which it reads here. Only the body was given it above.
        self.max_content_length = more["max_content_length"]


class _Held:
    """How many bytes of large bodies are in memory."""

    def __init__(self) -> None:
        self.bytes = 0

    def add(self, size: int) -> None:
        """Raises Unavailable if that is too much."""
        if self.bytes + size > MAX_HELD:
            raise Unavailable("The server is reading too many large requests: send it again later")
        self.bytes += size


held = _Held()


@asynccontextmanager
async def large_body(most: int) -> AsyncIterator[bytearray]:
    """The request's body. Raises TooLarge, and Unavailable if others take the room for it."""
    check_encoding(request.headers.getlist("Content-Encoding"))
    body = bytearray()
    try:
        async for part in request.body:
            held.add(len(part))
            body += part
            # Quart counts only what it holds, and this loop takes out what came.
            if len(body) > most:
                raise too_large(most)
        yield body
    finally:
        held.bytes -= len(body)


class LiftedBody(Struct):
    """The JSON of a body without its long strings, and those, which stand in it by a name."""

    rest: bytearray
    mark: str
    lifted: list[memoryview]

    def text(self, value: str) -> memoryview:
        """The string for which `value` stands in the JSON, or that it is. Raises BadRequest."""
        if not value.startswith(self.mark):
            return memoryview(value.encode())
        return _unescaped(self.lifted[int(value.removeprefix(self.mark))])

    def restored(self, value: Any) -> Any:
        """A JSON value with all its strings."""
        match value:
            case str() if self.is_lifted(value):
                return str(self.text(value), "utf-8")
            case list():
                return [self.restored(each) for each in value]
            case dict():
                return {self.restored(key): self.restored(each) for key, each in value.items()}
        return value

    def is_lifted(self, value: str) -> bool:
        return value.startswith(self.mark)


def lifted(body: bytearray) -> LiftedBody:
    """Takes the long strings out. Blocks: use a thread. Raises BadRequest."""
    # A client can't guess the mark, so none of its own strings is taken for a lifted one.
    mark = token_hex(16)
    rest, strings = lift(body, mark.encode())
    if len(rest) > MAX_REST:
        raise BadRequest(
            f"The body has more than {MAX_REST // 1024**2} MB besides the contents of large files:"
            " send fewer files at once"
        )
    return LiftedBody(rest, mark, strings)


def lift(body: bytearray, mark: bytes) -> tuple[bytearray, list[memoryview]]:
    r"""The JSON with each long string replaced by `mark` and a number; and those strings as views.

    The views hold what stands between the quotes, escapes included. Broken JSON stays broken.
    """
    view = memoryview(body)
    rest, lifted, done = bytearray(), list[memoryview](), 0
    for start, end in islice(_strings(body), MAX_STRINGS):
        if end - start >= LONG:
            rest += view[done:start]
            rest += b"%s%d" % (mark, len(lifted))
            lifted.append(view[start:end])
            done = end
    rest += view[done:]
    return rest, lifted


def _strings(body: bytearray) -> Iterator[tuple[int, int]]:
    """Start and end of each string, without its quotes."""
    end, seen = -1, 0
    while (start := _quote(body, end + 1) + 1) > 0:
        end = _quote(body, start)
        while end >= 0 and _is_escaped(body, start, end):
            end, seen = _quote(body, end + 1), seen + 1
        if end < 0 or seen > MAX_STRINGS:
            return
        yield start, end


def _is_escaped(body: bytearray, start: int, quote: int) -> bool:
    """Whether an odd number of backslashes stands before the quote of a string."""
    for window in (8, STEP):
        before = body[max(start, quote - window) : quote]
        backslashes = len(before) - len(before.rstrip(b"\\"))
        if backslashes < len(before):
            break
    return backslashes % 2 == 1


def _quote(body: bytearray, start: int) -> int:
    """The place of the next quote; -1 if there is none."""
    for place in range(start, len(body), STEP):
        if (found := body.find(b'"', place, place + STEP)) >= 0:
            return found
    return -1


def _unescaped(text: memoryview) -> memoryview:
    r"""The JSON string without its escapes. Some clients write each slash as `\/`."""
    if not any(b"\\" in piece for piece in in_pieces(text)):
        return text
    return memoryview(decode(b'"%s"' % text, _string, typos=False).encode())
