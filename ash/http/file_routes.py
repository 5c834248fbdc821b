"""The routes of a session's files: list, read, write, delete."""

import re
from collections.abc import AsyncIterator
from mimetypes import MimeTypes
from types import TracebackType
from urllib.parse import quote

from quart import Blueprint, Response, g, request
from quart.blueprints import BlueprintSetupState
from quart.wrappers.response import ResponseBody
from werkzeug.routing import BaseConverter

from ash.http.responses import json_response, read_query
from ash.http.uploads import read_uploads
from ash.requests.parsing import choice
from ash.sessions.files import SessionFiles
from ash.workspaces.files import OpenFile
from ash.workspaces.workspaces import FilesLocation

# How much is read at a time: each read costs a hop to a thread, 0.1 ms, and no client takes
# more at once.
PIECE = 256 * 1024

# Python's own table. The machine's differs from host to host, and has .ts as a video.
_types = MimeTypes(filenames=())
for _ending, _type in {
    ".jsx": "text/javascript",
    ".md": "text/markdown",
    ".toml": "text/plain",
    ".ts": "text/typescript",
    ".tsx": "text/typescript",
    ".yaml": "text/yaml",
    ".yml": "text/yaml",
}.items():
    _types.add_type(_type, _ending)


def file_routes(files: SessionFiles) -> Blueprint:
    routes = Blueprint("files", __name__, url_prefix="/api/sessions/<session_id>/files")
    routes.record_once(_add_converter)

    @routes.get("")
    async def find(session_id: str) -> Response:
        hidden = read_query(lambda get: choice(get, "includeHidden", ("true", "false"))) == "true"
        listing, source = await files.find(g.tenant, session_id, hidden=hidden)
        truncated = {"truncated": True} if listing.truncated else {}
        return json_response(files=listing.files, source=source, **truncated)

    @routes.get("/<rest:path>")
    async def get(session_id: str, path: str) -> Response:
        if read_query(lambda get: choice(get, "format", ("raw", "json"))) == "json":
            content, size, source = await files.read_text(g.tenant, session_id, path)
            return json_response(path=path, content=content, size=size, source=source)
        file, source = await files.open(g.tenant, session_id, path)
        return _download(files, file, path, source)

    @routes.post("")
    async def upload(session_id: str) -> Response:
        uploads, folder = await read_uploads()
        return json_response(files=await files.write(g.tenant, session_id, uploads, folder))

    @routes.delete("/<rest:path>")
    async def delete(session_id: str, path: str) -> Response:
        await files.delete(g.tenant, session_id, path)
        return json_response(path=path, deleted=True)

    return routes


class _RestOfPath(BaseConverter):
    """Matches all the rest of a path, `..` and line feeds too.

    Such a path then reaches the route, which refuses it and says why. Quart would say 404.
    """

    regex = "(?s:.+)"
    part_isolating = False
    weight = 300


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["rest"] = _RestOfPath


def _download(files: SessionFiles, file: OpenFile, path: str, source: FilesLocation) -> Response:
    name = path.rpartition("/")[2]
    headers = {
        "Content-Type": _content_type(name),
        "Content-Disposition": _disposition(name),
        "X-Ash-Source": source,
        "Cache-Control": "no-store",
        # The agent wrote it: a browser must not show it as a page of ours.
        "X-Content-Type-Options": "nosniff",
    }
    if request.method == "HEAD":
        file.close()
    response = Response(b"" if request.method == "HEAD" else _FileBody(files, file), 200, headers)
    response.content_length = file.size
    return response


def _disposition(name: str) -> str:
    """The name in plain ASCII for clients that read only that, and then the whole name."""
    # A percent sign may be taken for the start of an escape.
    plain = re.sub(r'[^ -~]|["%\\]', "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _content_type(name: str) -> str:
    content_type, compression = _types.guess_type(name)
    if compression is not None:
        return "application/gzip" if compression == "gzip" else "application/octet-stream"
    return content_type or "application/octet-stream"


class _FileBody(ResponseBody):
    """The file's bytes, read as the client takes them. Owns the file.

    A response that is never sent is never entered nor left; its file is closed when the object
    is collected.
    """

    def __init__(self, files: SessionFiles, file: OpenFile) -> None:
        self._files = files
        self._file = file

    async def __aenter__(self) -> AsyncIterator[bytes]:
        return self._read()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    async def _read(self) -> AsyncIterator[bytes]:
        """Raises OSError if the file has become shorter than its Content-Length says."""
        place = 0
        while place < self._file.size:
            length = min(PIECE, self._file.size - place)
            data = await self._files.read(self._file, place, length)
            if not data:
                raise OSError("The file became shorter while it was sent")
            place += len(data)
            yield data
