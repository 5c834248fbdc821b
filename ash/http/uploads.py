"""Files in the body of a request: base64 in JSON, decoded piece by piece."""

import binascii
import re
from collections.abc import Iterator
from itertools import islice
from secrets import token_hex
from typing import Any

import msgspec
import trio
from quart import request
from quart_trio.wrappers import TrioRequest

from ash.errors import BadRequest, TooLarge
from ash.requests.parsing import decode
from ash.requests.sessions import UploadedFile, UploadFiles
from ash.sessions.files import MAX_BATCH, Upload

# Shorter strings are left to the decoder.
LONG = 16 * 1024

# Bytes that are searched at once, in some 10 µs.
STEP = 256 * 1024

# 500 files have some 3,000 strings; a body of nothing but quotes must not keep a thread busy.
MAX_STRINGS = 10_000


def lift(body: bytearray, mark: bytes) -> tuple[bytearray, list[memoryview]]:
    r"""The JSON with `mark` and a number for each long string, and these strings as views.

    What stands between their quotes is untouched, escapes and all. JSON that is broken stays
    broken. A string before which a `\"` is found is not lifted.
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
    """From where to where each string goes, without its quotes, up to a quote that is escaped."""
    end = -1
    while (start := _quote(body, end + 1) + 1) > 0:
        end = _quote(body, start)
        if end < 0 or body[end - 1 : end] == b"\\":
            return
        yield start, end


def _quote(body: bytearray, start: int) -> int:
    """Where the next quote is; -1 if there is none."""
    for place in range(start, len(body), STEP):
        if (found := body.find(b'"', place, place + STEP)) >= 0:
            return found
    return -1


# base64 makes four bytes of three; the rest is room for 500 paths of 4 KB with escapes.
MAX_UPLOAD_BODY = MAX_BATCH // 3 * 4 + 16 * 1024 * 1024

# Characters that are decoded at once: 0.2 ms, in which nothing else runs. A multiple of four.
PIECE = 64 * 1024

_ROUTE = re.compile(r"/api/sessions/[^/]+/files/?")


class AppRequest(TrioRequest):
    """Takes a larger body on the one route that files are uploaded to."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **more: Any) -> None:
        if method == "POST" and _ROUTE.fullmatch(path):
            more["max_content_length"] = MAX_UPLOAD_BODY
        super().__init__(method, scheme, path, *rest, **more)
        # The body was told; the error that names the limit asks the request.
        self.max_content_length = more["max_content_length"]


async def read_uploads() -> tuple[list[Upload], str]:
    """The files of the request's body, and the folder that they are for.

    Raises BadRequest, naming the field, and TooLarge.
    """
    body = bytearray()
    async for part in request.body:
        body += part
        # What was taken out of it is not counted by the request itself.
        if len(body) > MAX_UPLOAD_BODY:
            raise TooLarge(f"The body is larger than {MAX_UPLOAD_BODY // 1024**2} MB")
    return await trio.to_thread.run_sync(_parse, body)


_upload_files = msgspec.json.Decoder(UploadFiles)
_string = msgspec.json.Decoder(str)


def _parse(body: bytearray) -> tuple[list[Upload], str]:
    # Nobody can guess it: no content of a client's own is taken for a lifted one.
    mark = token_hex(16)
    rest, lifted = lift(body, mark.encode())
    wanted = decode(rest, _upload_files)
    if any(path.startswith(mark) for path in (wanted.target_path, *(f.path for f in wanted.files))):
        raise BadRequest(f"A path is longer than {LONG - 1} bytes")
    return [_upload(file, mark, lifted) for file in wanted.files], wanted.target_path


def _upload(file: UploadedFile, mark: str, lifted: list[memoryview]) -> Upload:
    if file.content.startswith(mark):
        text = _unescaped(lifted[int(file.content.removeprefix(mark))])
    else:
        text = memoryview(file.content.encode())
    size = len(text) // 4 * 3 - bytes(text[-2:]).count(b"=")
    return Upload(file.path, size, _decoded(text, file.path))


def _unescaped(text: memoryview) -> memoryview:
    r"""What a JSON string means: mostly itself, but some clients write each slash as `\/`."""
    if not any(b"\\" in piece for piece in _pieces(text)):
        return text
    return memoryview(decode(b'"%s"' % text, _string).encode())


def _decoded(text: memoryview, path: str) -> Iterator[bytes]:
    """Raises BadRequest where the text is not base64."""
    whole = len(text) % 4 == 0
    for piece in _pieces(text):
        try:
            data = binascii.a2b_base64(piece, strict_mode=True) if whole else b""
        except binascii.Error:
            data = b""
        if not data:
            raise BadRequest(f'The content of "{path}" is not base64')
        # After the padding nothing may follow.
        whole = len(data) * 4 == len(piece) * 3
        yield data


def _pieces(text: memoryview) -> Iterator[bytes]:
    return (bytes(text[start : start + PIECE]) for start in range(0, len(text), PIECE))
