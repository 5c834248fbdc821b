"""Writes the files of an upload into a folder, where they are then taken like any other folder."""

import errno
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from msgspec import Struct

from ash.agent_files.executables import can_be_executed
from ash.errors import BadRequest
from ash.file_names import spelled, unspelled
from ash.workspaces.copy_program import MAX_DEPTH

PLAIN, EXECUTABLE = 0o644, 0o755

# Errors of the disk that the caller's paths cause, such as a file where a folder should be.
_CALLERS_FAULT = {
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.EILSEQ,
}


class SentFile(Struct):
    """A file; a link to `link`; or a folder, if the path ends with a slash."""

    path: str
    content: bytes = b""
    mode: int | None = None
    link: str | None = None


def write_sent(files: Iterable[SentFile], folder: Path) -> None:
    """Writes files and links into `folder`, which must be empty.

    Raises BadRequest for a path that leads out, and for one below a link: nothing is written
    through a link.
    """
    wanted: dict[PurePosixPath, SentFile] = {}
    for file in files:
        path = _relative(file.path)
        if path in wanted:
            raise BadRequest(f'files: "{spelled(str(path))}" is there twice')
        wanted[path] = file
    links = {path for path, file in wanted.items() if file.link is not None}
    for path, file in wanted.items():
        if not links.isdisjoint(path.parents):
            raise BadRequest(f'files: "{spelled(str(path))}" lies below a link')
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            _write(file, folder / path)
        except OSError as error:
            if error.errno not in _CALLERS_FAULT:
                raise
            raise BadRequest(
                f'files: "{spelled(str(path))}" can\'t be made: {error.strerror}'
            ) from None


def _write(file: SentFile, target: Path) -> None:
    if file.link is not None:
        if "\0" in file.link:
            raise BadRequest(f'files: the link "{file.path}" has a NUL in it')
        target.symlink_to(unspelled(file.link))
        return
    if file.path.endswith("/"):
        target.mkdir(exist_ok=True)
        return
    target.write_bytes(file.content)
    target.chmod(_mode(file))


def _mode(file: SentFile) -> int:
    """The mode that was sent. Without one, scripts and programs are executable."""
    if file.mode is not None:
        return file.mode
    return EXECUTABLE if can_be_executed(file.content) else PLAIN


def _relative(path: str) -> PurePosixPath:
    """The path, if it stays inside. Raises BadRequest."""
    pure = PurePosixPath(unspelled(path))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts or "\0" in path:
        raise BadRequest(f'files: the path "{path}" does not stay in the agent\'s folder')
    if len(pure.parts) > MAX_DEPTH:
        raise BadRequest(f"files: a path is deeper than {MAX_DEPTH} folders")
    return pure
