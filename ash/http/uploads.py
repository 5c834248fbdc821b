"""Files in the body of a request: base64 in JSON, up to 150 MB.

Decoding all of that at once would hold the GIL, and with it the event loop. So the long strings
are taken out before the JSON is decoded, and their base64 is decoded piece by piece.
"""

import re
from collections.abc import Iterator
from itertools import islice
from secrets import token_hex
from typing import Any

import msgspec
import trio
from quart import request
from quart_trio.wrappers import TrioRequest

from ash.errors import BadRequest
from ash.http.asgi import check_encoding, too_large
from ash.requests.base64_text import decoded, decoded_size, in_pieces
from ash.requests.parsing import decode
from ash.requests.sessions import UploadedFile, UploadFiles
from ash.sessions.files import MAX_BATCH, Upload

# base64 makes four bytes of each three. The rest is room for 500 paths of 4 KB with escapes.
MAX_UPLOAD_BODY = MAX_BATCH // 3 * 4 + 16 * 1024 * 1024

# Strings of that many bytes are taken out of the JSON; the decoder gets the shorter ones.
LONG = 16 * 1024

# How many bytes are searched at a time: some 10 µs.
STEP = 256 * 1024

# 500 files have some 3,000 strings. A body of nothing but quotes must not keep a thread busy.
MAX_STRINGS = 10_000

_ROUTE = re.compile(r"/api/sessions/[^/]+/files/?")
_upload_files = msgspec.json.Decoder(UploadFiles)
_string = msgspec.json.Decoder(str)


class AppRequest(TrioRequest):
    """Quart's request, with a larger body allowed on the one route that takes uploads."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **more: Any) -> None:
        if method == "POST" and _ROUTE.fullmatch(path):
            more["max_content_length"] = MAX_UPLOAD_BODY
        super().__init__(method, scheme, path, *rest, **more)
        # The 413 names the limit, which it reads here. Only the body was given it above.
        self.max_content_length = more["max_content_length"]


async def read_uploads() -> tuple[list[Upload], str]:
    """The files in the request's body, and the folder that they are for.

    Raises BadRequest, naming the field, and TooLarge.
    """
    check_encoding(request.headers.getlist("Content-Encoding"))
    body = bytearray()
    async for part in request.body:
        body += part
        # Quart counts only what it holds, and this loop takes out what came.
        if len(body) > MAX_UPLOAD_BODY:
            raise too_large(MAX_UPLOAD_BODY)
    return await trio.to_thread.run_sync(_parse, body)


def _parse(body: bytearray) -> tuple[list[Upload], str]:
    # A client can't guess the mark, so none of its own strings is taken for a lifted one.
    mark = token_hex(16)
    rest, lifted = lift(body, mark.encode())
    wanted = decode(rest, _upload_files)
    if any(path.startswith(mark) for path in (wanted.target_path, *(f.path for f in wanted.files))):
        raise BadRequest(f"A path is longer than {LONG - 1} bytes")
    return [_as_upload(file, mark, lifted) for file in wanted.files], wanted.target_path


def lift(body: bytearray, mark: bytes) -> tuple[bytearray, list[memoryview]]:
    r"""The JSON with each long string replaced by `mark` and a number; and those strings as views.

    The views hold what stands between the quotes, escapes included. Broken JSON stays broken.
    Strings behind the first `\"` are not lifted.
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
    """Start and end of each string, without its quotes, up to the first escaped quote."""
    end = -1
    while (start := _quote(body, end + 1) + 1) > 0:
        end = _quote(body, start)
        if end < 0 or body[end - 1 : end] == b"\\":
            return
        yield start, end


def _quote(body: bytearray, start: int) -> int:
    """The place of the next quote; -1 if there is none."""
    for place in range(start, len(body), STEP):
        if (found := body.find(b'"', place, place + STEP)) >= 0:
            return found
    return -1


def _as_upload(file: UploadedFile, mark: str, lifted: list[memoryview]) -> Upload:
    if file.content.startswith(mark):
        text = _unescaped(lifted[int(file.content.removeprefix(mark))])
    else:
        text = memoryview(file.content.encode())
    content = decoded(in_pieces(text), f'The content of "{file.path}"')
    return file.upload(decoded_size(in_pieces(text)), content)


def _unescaped(text: memoryview) -> memoryview:
    r"""The JSON string without its escapes. Some clients write each slash as `\/`."""
    if not any(b"\\" in piece for piece in in_pieces(text)):
        return text
    return memoryview(decode(b'"%s"' % text, _string, typos=False, mend=True).encode())
