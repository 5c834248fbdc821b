from collections.abc import AsyncIterator
from mimetypes import MimeTypes
from types import TracebackType
from urllib.parse import quote

from quart import Blueprint, Response, g, request
from quart.blueprints import BlueprintSetupState
from quart.wrappers.response import ResponseBody
from werkzeug.routing import BaseConverter

from ash.http.responses import answer, asked
from ash.http.uploads import read_uploads
from ash.requests.parsing import choice
from ash.sessions.files import SessionFiles
from ash.workspaces.files import OpenFile
from ash.workspaces.workspaces import FilesLocation

# Read at once: a hop to a thread costs 0.1 ms, and no client takes more at a time.
PIECE = 256 * 1024

# Python's own table, not the machine's, which takes .ts for a film and differs everywhere.
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
        hidden = choice(asked, "includeHidden", ("true", "false")) == "true"
        listing, source = await files.find(g.tenant, session_id, hidden=hidden)
        more = {"truncated": True} if listing.truncated else {}
        return answer(files=listing.files, source=source, **more)

    @routes.get("/<anything:path>")
    async def get(session_id: str, path: str) -> Response:
        if choice(asked, "format", ("raw", "json")) == "json":
            content, size, source = await files.read_text(g.tenant, session_id, path)
            return answer(path=path, content=content, size=size, source=source)
        file, source = await files.open(g.tenant, session_id, path)
        return _download(files, file, path, source)

    @routes.post("")
    async def upload(session_id: str) -> Response:
        uploads, folder = await read_uploads()
        return answer(files=await files.write(g.tenant, session_id, uploads, folder))

    @routes.delete("/<anything:path>")
    async def delete(session_id: str, path: str) -> Response:
        await files.delete(g.tenant, session_id, path)
        return answer(path=path, deleted=True)

    return routes


class _Anything(BaseConverter):
    """The rest of the path as it is, so that one that must be refused gets a reason."""

    regex = "(?s:.+)"
    part_isolating = False
    weight = 300


def _add_converter(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["anything"] = _Anything


def _download(files: SessionFiles, file: OpenFile, path: str, source: FilesLocation) -> Response:
    name = path.rpartition("/")[2]
    headers = {
        "Content-Type": _content_type(name),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "X-Ash-Source": source,
        # It is the agent's, and no page of ours: a browser must not take it for one.
        "X-Content-Type-Options": "nosniff",
    }
    if request.method == "HEAD":
        file.close()
    response = Response(b"" if request.method == "HEAD" else _Content(files, file), 200, headers)
    response.content_length = file.size
    return response


def _content_type(name: str) -> str:
    kind, packed = _types.guess_type(name)
    if packed is not None:
        return "application/gzip" if packed == "gzip" else "application/octet-stream"
    return kind or "application/octet-stream"


class _Content(ResponseBody):
    """The file's bytes, read as the client takes them. Owns the file.

    A response that is never begun is never left either: then the file goes with the object.
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
        """Raises OSError if the file has become shorter than was announced."""
        place = 0
        while place < self._file.size:
            length = min(PIECE, self._file.size - place)
            data = await self._files.read(self._file, place, length)
            if not data:
                raise OSError("The file became shorter while it was sent")
            place += len(data)
            yield data
