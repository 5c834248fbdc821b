"""Reads, writes and deletes the files of a workspace that its agent may be changing.

`root` is always the workspace's descriptor. A link in the middle of a path is followed if it
stays inside; what is written or deleted is the name itself, never what it links to. Raises
AshError in words for all that a caller or an agent can bring about. All of it blocks.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from ash.errors import BadRequest, Conflict, NotFound, Unavailable
from ash.workspaces.disk_errors import disk_in_words
from ash.workspaces.safe_open import FOLDER, open_beneath


class OpenFile:
    """A regular file of `size` bytes. Whoever opened it closes it; else it goes with the object."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd

    def read(self, start: int, length: int) -> bytes:
        """Less than `length` only at the end of the file, which may be nearer than it was."""
        return os.pread(self._fd, length, start)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def open_file(root: int, path: str) -> OpenFile:
    with _in_words(path):
        fd = open_beneath(root, path, os.O_RDONLY)
        found = os.fstat(fd)
        file = OpenFile(fd, found.st_size)
        _check_regular(found)
    return file


def check_link(root: int, path: str) -> None:
    """Raises BadRequest if the path, its last name included, leads out by a link."""
    with _in_words(path), suppress(FileNotFoundError, NotADirectoryError):
        os.close(open_beneath(root, path, os.O_PATH))


def write_file(root: int, path: str, content: Iterable[bytes]) -> int:
    """Makes the file or takes its place at once, complete; makes folders that lack.

    It belongs to whom the workspace belongs to. Returns its size.
    """
    folder, _, name = path.rpartition("/")
    check_link(root, path)
    with disk_in_words(), _in_words(path), _while_making(path):
        parent = _make_folders(root, folder)
        try:
            if _is_folder(parent, name):
                raise IsADirectoryError(errno.EISDIR, "")
            return _replace(parent, name, content, os.fstat(root))
        finally:
            os.close(parent)


def delete_file(root: int, path: str) -> None:
    """Deletes a file, or a link without what it leads to; a folder is refused."""
    folder, _, name = path.rpartition("/")
    check_link(root, path)
    with disk_in_words(), _in_words(path):
        parent = open_beneath(root, folder or ".", FOLDER)
        try:
            os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)


def _check_regular(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "")
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.ENXIO, "")


def _make_folders(root: int, path: str) -> int:
    """A descriptor of the folder; whatever of it is not there is made."""
    with suppress(FileNotFoundError):
        return open_beneath(root, path or ".", FOLDER)
    owner = os.fstat(root)
    here = os.dup(root)
    way = ""
    try:
        for name in path.split("/"):
            way = f"{way}/{name}" if way else name
            below = _make_folder(root, way, here, name, owner)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _make_folder(root: int, way: str, parent: int, name: str, owner: os.stat_result) -> int:
    with suppress(FileNotFoundError):
        return open_beneath(root, way, FOLDER)
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    fd = os.open(name, FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    _hand_over(fd, 0o755, owner)
    return fd


def _replace(parent: int, name: str, content: Iterable[bytes], owner: os.stat_result) -> int:
    temporary = f".ash-{token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            size = sum(file.write(chunk) for chunk in content)
            _hand_over(fd, 0o644, owner)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    return size


def _hand_over(fd: int, mode: int, owner: os.stat_result) -> None:
    os.fchmod(fd, mode)
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _is_folder(parent: int, name: str) -> bool:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode)


@contextmanager
def _while_making(path: str) -> Iterator[None]:
    try:
        yield
    except NotADirectoryError:
        raise BadRequest(f'A part of "{path}" is a file, not a folder') from None
    except FileNotFoundError:
        raise _changing(path) from None


@contextmanager
def _in_words(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOENT | errno.ENOTDIR:
                raise NotFound(f'There is no file "{path}"') from None
            case errno.EXDEV | errno.ELOOP:
                raise BadRequest(f'"{path}" leads out of the workspace by a link') from None
            case errno.EISDIR:
                raise BadRequest(f'"{path}" is a folder, not a file') from None
            case errno.ENXIO | errno.ENODEV:
                raise BadRequest(f'"{path}" is not a regular file') from None
            case errno.ENAMETOOLONG:
                raise BadRequest(f'"{path}" is too long') from None
            case errno.EACCES | errno.EPERM:
                raise BadRequest(f'"{path}" has been made inaccessible by the agent') from None
            case errno.EAGAIN:
                raise _changing(path) from None
            case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
                raise Unavailable(f'There is no room on the disk for "{path}"') from None
        raise


def _changing(path: str) -> Conflict:
    return Conflict(f'"{path}" is being changed at this moment: try again')
