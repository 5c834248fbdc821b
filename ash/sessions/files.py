"""The files of a session, whether its sandbox lives or was put away."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

import trio
from msgspec import UNSET, Struct, UnsetType

from ash.agent_files.executables import hook_programs, is_script, make_executable
from ash.errors import AshError, BadRequest, Conflict, NotFound, TooLarge
from ash.file_names import spelled, unspelled
from ash.folder_check import SETTINGS_FILES
from ash.limits import FreeSpace, Limits
from ash.limits.disk_limit import check_upload
from ash.model import StoredSession
from ash.store import Store
from ash.workspaces.files import (
    OpenFile,
    check_link,
    delete_file,
    open_file,
    size_on_disk,
    write_file,
)
from ash.workspaces.listing import FileListing, list_files
from ash.workspaces.safe_open import checked_path
from ash.workspaces.workspaces import FilesLocation, Workspaces

T = TypeVar("T")

MAX_READ = 100 * 1024 * 1024
# Of a text: it is held and escaped in one piece.
MAX_TEXT = 1024 * 1024
MAX_WRITTEN = 50 * 1024 * 1024
MAX_BATCH = 100 * 1024 * 1024

# An agent can make its tree slow to walk; other work has to find a free thread meanwhile.
THREADS = 8


class Upload(Struct):
    """A file that is to be written: `content` has `size` bytes, or raises AshError when it is read.

    Without a mode it keeps that of the file it replaces.
    """

    path: str
    size: int
    content: Iterable[bytes]
    mode: int | None = None


class Written(Struct, rename="camel"):
    """What became of an upload: its size, or why it was not written."""

    path: str
    written: bool
    size: int | UnsetType = UNSET
    error: str | UnsetType = UNSET


class SessionFiles:
    """Reaches into workspaces, never out of them.

    Every method raises NotFound for a session that is another's or has no files left, and
    BadRequest for a path that leads out of its workspace.
    """

    def __init__(
        self,
        store: Store,
        workspaces: Workspaces,
        changed: Callable[[Path], None],
        limits: Callable[[StoredSession], Awaitable[Limits]],
        space: FreeSpace,
    ) -> None:
        """`changed` is called with a live workspace that has been written to."""
        self._store = store
        self._workspaces = workspaces
        self._changed = changed
        self._limits = limits
        self._space = space
        self._threads = trio.CapacityLimiter(THREADS)
        self._writes: WeakValueDictionary[str, trio.Lock] = WeakValueDictionary()

    async def find(
        self, tenant: str, session_id: str, *, hidden: bool
    ) -> tuple[FileListing, FilesLocation]:
        check = trio.from_thread.check_cancelled
        return await self._at(tenant, session_id, partial(list_files, hidden=hidden, check=check))

    async def open(self, tenant: str, session_id: str, path: str) -> tuple[OpenFile, FilesLocation]:
        """The file as it is now; the caller closes it."""
        path = checked_path(path)
        return await self._at(
            tenant, session_id, lambda root: _open(root, path, MAX_READ, "are sent")
        )

    async def read(self, file: OpenFile, start: int, length: int) -> bytes:
        return await trio.to_thread.run_sync(file.read, start, length, limiter=self._threads)

    async def read_text(
        self, tenant: str, session_id: str, path: str
    ) -> tuple[str, int, FilesLocation]:
        """The text, the file's size in bytes, and the source; what is not UTF-8 is U+FFFD."""
        path = checked_path(path)
        data, source = await self._at(tenant, session_id, lambda root: _read(root, path))
        return data.decode(errors="replace"), len(data), source

    async def write(
        self, tenant: str, session_id: str, uploads: Sequence[Upload], folder: str = ""
    ) -> list[Written]:
        """Writes what it can, and says of each what came of it.

        Hooks and scripts of skills become executable. If all paths lead out or all files are too
        much, for the session's disk limit as well, nothing is written. Raises Unavailable if the
        disk has less room than the floor.
        """
        if sum(upload.size for upload in uploads) > MAX_BATCH:
            raise TooLarge(f"The files have more than {MAX_BATCH // 1024**2} MB together")
        if folder not in {"", ".", "./"}:
            folder = checked_path(folder)
        self._space.check()
        limit = (await self._limits(await self._found(tenant, session_id))).disk_mb
        wanted = [upload for upload in uploads if upload.size <= MAX_WRITTEN]

        def write(root: int) -> list[Written]:
            self._check_limit(session_id, root, folder, wanted, limit)
            return _write(root, folder, uploads)

        # One after the other: each finds what those before it have written.
        async with self._writes.setdefault(session_id, trio.Lock()):
            return await self._change(tenant, session_id, write)

    async def delete(self, tenant: str, session_id: str, path: str) -> None:
        """Raises NotFound if it is not there, BadRequest for a folder."""
        path = checked_path(path)
        await self._change(tenant, session_id, lambda root: delete_file(root, path))

    def _check_limit(
        self, session_id: str, root: int, folder: str, uploads: Sequence[Upload], limit: int
    ) -> None:
        paths = {_whole(folder, upload.path) for upload in uploads}
        check_upload(
            self._workspaces.folders(session_id),
            limit,
            [upload.size for upload in uploads],
            sum(size_on_disk(root, path) for path in paths),
            trio.from_thread.check_cancelled,
        )

    async def _change(self, tenant: str, session_id: str, work: Callable[[int], T]) -> T:
        """Raises Conflict if what was changed is no longer what the session has."""

        def run(root: int) -> T:
            done = work(root)
            if not self._workspaces.has(session_id, root):
                raise Conflict("The session's files were moved meanwhile: look, and try again")
            return done

        try:
            done, _ = await self._at(tenant, session_id, run)
        finally:
            # Also after a failure: a part may have been written.
            self._changed(self._workspaces.live(session_id))
        return done

    async def _at(
        self, tenant: str, session_id: str, work: Callable[[int], T]
    ) -> tuple[T, FilesLocation]:
        """Does the work on the workspace's descriptor, in a thread."""
        await self._found(tenant, session_id)

        def run() -> tuple[T, FilesLocation]:
            with self._workspaces.opened(session_id) as (root, source):
                return work(root), source

        return await trio.to_thread.run_sync(run, limiter=self._threads)

    async def _found(self, tenant: str, session_id: str) -> StoredSession:
        stored = await self._store.session(tenant, session_id)
        if stored is None:
            raise NotFound(f'There is no session "{session_id}"')
        return stored


def _open(root: int, path: str, most: int, how: str) -> OpenFile:
    file = open_file(root, path)
    if file.size > most:
        file.close()
        raise BadRequest(f'"{spelled(path)}" has {file.size} bytes, over the {most} that {how}')
    return file


def _read(root: int, path: str) -> bytes:
    file = _open(root, path, MAX_TEXT, "fit in JSON: ask for format=raw")
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def _write(root: int, folder: str, uploads: Sequence[Upload]) -> list[Written]:
    """Raises the first error if every path is refused."""
    checked = [_checked(root, folder, upload.path) for upload in uploads]
    refused = [path for path in checked if isinstance(path, AshError)]
    if refused and len(refused) == len(checked):
        raise refused[0]
    written = [_write_one(root, *pair) for pair in zip(checked, uploads, strict=True)]
    without_mode = [upload.mode is None for upload in uploads]
    _make_executable(root, list(zip(written, without_mode, strict=True)))
    return written


def _checked(root: int, folder: str, path: str) -> str | AshError:
    """The whole path, or the error if it leads out."""
    try:
        whole = _whole(folder, checked_path(path))
        check_link(root, whole)
    except BadRequest as error:
        return error
    return whole


def _whole(folder: str, path: str) -> str:
    return path if folder in {"", ".", "./"} else f"{folder}/{path}"


def _write_one(root: int, path: str | AshError, upload: Upload) -> Written:
    if isinstance(path, AshError):
        return Written(upload.path, written=False, error=path.text)
    shown = spelled(path)
    if upload.size > MAX_WRITTEN:
        text = f'"{shown}" has more than {MAX_WRITTEN // 1024**2} MB'
        return Written(shown, written=False, error=text)
    try:
        size = write_file(root, path, _cancellable(upload.content), upload.mode)
    except AshError as error:
        return Written(shown, written=False, error=error.text)
    return Written(shown, written=True, size=size)


def _make_executable(root: int, written: Sequence[tuple[Written, bool]]) -> None:
    """Makes scripts without a mode executable, and hooks and scripts of skills in any case."""
    programs = hook_programs(root)
    paths = [(unspelled(file.path), free) for file, free in written if file.written]
    wanted = [path for path, free in paths if free or is_script(path) or path in programs]
    if any(path in SETTINGS_FILES for path, _ in paths):
        wanted += programs
    make_executable(root, wanted)


def _cancellable(content: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in content:
        trio.from_thread.check_cancelled()
        yield chunk
