"""Reads, writes and deletes files of a workspace while its agent may be changing them.

`root` is always a descriptor of the workspace. A link in the middle of a path is followed if it
stays inside. Writing and deleting act on the last name itself, never on the target of a link.
Whatever a caller or an agent can cause is raised as AshError. All functions block.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from secrets import token_hex

from ash.errors import BadRequest, Conflict, NotFound, Unavailable
from ash.file_names import spelled
from ash.workspaces.disk_errors import disk_in_words
from ash.workspaces.safe_open import FOLDER, open_beneath


class OpenFile:
    """An open regular file of `size` bytes. The caller closes it, or else the garbage collector."""

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._fd = fd

    def read(self, start: int, length: int) -> bytes:
        """Reads `length` bytes, or less at the end of the file, which may have shrunk."""
        return os.pread(self._fd, length, start)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        self.close()


def open_file(root: int, path: str) -> OpenFile:
    with _errors_in_words(path):
        fd = open_beneath(root, path, os.O_RDONLY)
        found = os.fstat(fd)
        file = OpenFile(fd, found.st_size)
        _check_regular(found)
    return file


def check_link(root: int, path: str) -> None:
    """Raises BadRequest if a link anywhere in the path, also the last name, leads out."""
    with _errors_in_words(path), suppress(FileNotFoundError, NotADirectoryError):
        os.close(open_beneath(root, path, os.O_PATH))


def write_file(root: int, path: str, content: Iterable[bytes], mode: int | None = None) -> int:
    """Writes a file, replacing an old one atomically; makes missing folders. Returns its size.

    The file gets the workspace's owner. Without a mode it gets that of the old one, or 644.
    """
    folder, _, name = path.rpartition("/")
    check_link(root, path)
    with disk_in_words(), _errors_in_words(path), _creation_errors_in_words(path):
        parent = _make_folders(root, folder)
        try:
            old = _mode(parent, name)
            if stat.S_ISDIR(old):
                raise IsADirectoryError(errno.EISDIR, "")
            if mode is None:
                mode = old & 0o777 if stat.S_ISREG(old) else 0o644
            return _replace(parent, name, content, mode, os.fstat(root))
        finally:
            os.close(parent)


def size_on_disk(root: int, path: str) -> int:
    """What would be given back if the file were replaced; 0 for anything else."""
    try:
        fd = open_beneath(root, path, os.O_PATH | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        found = os.fstat(fd)
    finally:
        os.close(fd)
    alone = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    return found.st_blocks * 512 if alone else 0


def delete_file(root: int, path: str) -> None:
    """Deletes a file, or a link but not its target; refuses folders."""
    folder, _, name = path.rpartition("/")
    check_link(root, path)
    with disk_in_words(), _errors_in_words(path):
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
    """A descriptor of the folder; makes the folder and its parents if they are missing."""
    with suppress(FileNotFoundError):
        return open_beneath(root, path or ".", FOLDER)
    owner = os.fstat(root)
    here = os.dup(root)
    so_far = ""
    try:
        for name in path.split("/"):
            so_far = f"{so_far}/{name}" if so_far else name
            below = _make_folder(root, so_far, here, name, owner)
            os.close(here)
            here = below
    except BaseException:
        os.close(here)
        raise
    return here


def _make_folder(root: int, so_far: str, parent: int, name: str, owner: os.stat_result) -> int:
    with suppress(FileNotFoundError):
        return open_beneath(root, so_far, FOLDER)
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    fd = os.open(name, FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    _set_mode_and_owner(fd, 0o755, owner)
    return fd


def _replace(
    parent: int, name: str, content: Iterable[bytes], mode: int, owner: os.stat_result
) -> int:
    temporary = f".ash-{token_hex(8)}.tmp"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        with os.fdopen(fd, "wb") as file:
            size = sum(file.write(chunk) for chunk in content)
            _set_mode_and_owner(fd, mode, owner)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    return size


def _set_mode_and_owner(fd: int, mode: int, owner: os.stat_result) -> None:
    os.fchmod(fd, mode)
    if os.geteuid() == 0:
        os.fchown(fd, owner.st_uid, owner.st_gid)


def _mode(parent: int, name: str) -> int:
    """The mode, with the type, of what has that name; 0 if nothing has."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


@contextmanager
def _creation_errors_in_words(path: str) -> Iterator[None]:
    path = spelled(path)
    try:
        yield
    except NotADirectoryError:
        raise BadRequest(f'A part of "{path}" is a file, not a folder') from None
    except FileNotFoundError:
        raise _changing(path) from None


@contextmanager
def _errors_in_words(path: str) -> Iterator[None]:
    path = spelled(path)
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
