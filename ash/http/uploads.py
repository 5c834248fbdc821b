"""Files in the body of a request: base64 in JSON, decoded piece by piece."""

import binascii
import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta, Raw, Struct
from quart import request
from quart_trio.wrappers import TrioRequest

from ash.errors import BadRequest, TooLarge
from ash.http.requests import decode
from ash.sessions.files import MAX_BATCH, Upload

# base64 makes four bytes of three; the rest is room for 500 paths of 4 KB with escapes.
MAX_UPLOAD_BODY = MAX_BATCH // 3 * 4 + 16 * 1024 * 1024

# Characters that are decoded at once: 0.2 ms, in which nothing else runs. A multiple of four.
PIECE = 64 * 1024

_ROUTE = re.compile(r"/api/sessions/[^/]+/files/?")


class UploadedFile(Struct, rename="camel"):
    path: Annotated[str, Meta(min_length=1)]
    content: Raw
    mime_type: str | None = None


class UploadFiles(Struct, rename="camel"):
    files: Annotated[list[UploadedFile], Meta(min_length=1, max_length=500)]
    target_path: str = ""


class Request(TrioRequest):
    """Takes a larger body on the one route that files are uploaded to."""

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **more: Any) -> None:
        if method == "POST" and _ROUTE.fullmatch(path):
            more["max_content_length"] = MAX_UPLOAD_BODY
        super().__init__(method, scheme, path, *rest, **more)


async def read_uploads() -> tuple[list[Upload], str]:
    """The files of the request's body, and the folder that they are for.

    Raises BadRequest, naming the field, and TooLarge.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.body:
        parts.append(part)
        size += len(part)
        # What was taken out of it is not counted by the body itself.
        if size > MAX_UPLOAD_BODY:
            raise TooLarge(f"The body is larger than {MAX_UPLOAD_BODY // 1024**2} MB")
    return await trio.to_thread.run_sync(_parse, parts)


_upload_files = msgspec.json.Decoder(UploadFiles)


def _parse(parts: list[bytes]) -> tuple[list[Upload], str]:
    body = decode(b"".join(parts), _upload_files)
    return [_upload(file) for file in body.files], body.target_path


def _upload(file: UploadedFile) -> Upload:
    text = _text(file)
    size = len(text) // 4 * 3 - bytes(text[-2:]).count(b"=")
    return Upload(file.path, size, _decoded(text, file.path))


def _text(file: UploadedFile) -> memoryview:
    """The content between its quotes: a view of the body, unless something in it is escaped."""
    content = memoryview(file.content)
    if bytes(content[:1]) != b'"':
        raise BadRequest(f'files: the content of "{file.path}" is not a string')
    if re.search(rb"\\", content):
        return memoryview(msgspec.json.decode(content, type=str).encode())
    return content[1:-1]


def _decoded(text: memoryview, path: str) -> Iterator[bytes]:
    """Raises BadRequest where the text is not base64."""
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        try:
            data = binascii.a2b_base64(piece, strict_mode=True)
        except binascii.Error:
            data = b""
        ends_early = len(data) * 4 < len(piece) * 3 and start + PIECE < len(text)
        if not data or ends_early or len(text) % 4:
            raise BadRequest(f'The content of "{path}" is not base64')
        yield data
