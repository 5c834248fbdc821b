"""Opens files below a folder, by paths that an agent may turn into links at any moment.

The folder is given by its descriptor. However the agent changes links and folders meanwhile, an
opened file lies below it. All functions block: use a thread.
"""

import ctypes
import errno
import os
import stat
from functools import cache

from ash.errors import BadRequest
from ash.file_names import spelled, unspelled

# linux/openat2.h. The number is the same on every architecture but Alpha.
_SYS_OPENAT2 = 437
_NO_XDEV = 0x01
_NO_MAGICLINKS = 0x02
_BENEATH = 0x08

# openat2 fails on a link with `..` if anything on the machine is renamed meanwhile, so we repeat.
_TRIES = 100

# linux/limits.h: the longest path that the kernel accepts, with its final NUL.
_PATH_MAX = 4096

FOLDER = os.O_RDONLY | os.O_DIRECTORY

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def checked_path(path: str) -> str:
    """The path in its shortest form. Raises BadRequest if it is absolute, empty or has a `..`.

    Bytes that are not UTF-8 have the spelling of `ash.file_names`. Links are not looked at here;
    `open_beneath` checks them.
    """
    path = unspelled(path)
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith("/"):
        raise BadRequest(f'"{spelled(path)}" is an absolute path: name it from the workspace on')
    if ".." in parts:
        raise BadRequest(f'"{spelled(path)}" has a ".." in it: name it from the workspace on')
    if "\0" in path:
        raise BadRequest("A path can't hold a NUL")
    if not parts:
        raise BadRequest("A path is missing")
    if len(os.fsencode(path)) >= _PATH_MAX:
        raise BadRequest(f"A path is longer than {_PATH_MAX - 1} bytes")
    return "/".join(parts)


def open_beneath(root: int, path: str, flags: int) -> int:
    """A descriptor for `path` (in the form of `checked_path`) below the folder `root`.

    Links that stay below are followed if the kernel can check that (openat2, Linux 5.6);
    otherwise no link is followed. Never waits, not even for the other end of a FIFO. Raises
    OSError: EXDEV or ELOOP for a link that leads out, to another file system or in a circle, or
    that is not followed; EAGAIN if files were renamed all the time.
    """
    flags |= os.O_CLOEXEC
    if not flags & os.O_PATH:
        flags |= os.O_NOCTTY | os.O_NONBLOCK
    if _kernel_resolves():
        return _openat2(root, path, flags)
    return open_unlinked(root, path, flags)


def open_folder(path: str | os.PathLike[str]) -> int:
    """A descriptor of a folder, for `open_beneath`; only for paths of our own. Raises OSError."""
    return os.open(path, FOLDER | os.O_NOFOLLOW | os.O_CLOEXEC)


@cache
def _kernel_resolves() -> bool:
    """Whether openat2 works: old kernels lack it, and old seccomp filters forbid it."""
    here = open_folder("/")
    try:
        os.close(_openat2(here, ".", FOLDER | os.O_CLOEXEC))
    except OSError:
        return False
    finally:
        os.close(here)
    return True


def _openat2(root: int, path: str, flags: int) -> int:
    how = _How(flags=flags, mode=0, resolve=_NO_XDEV | _NO_MAGICLINKS | _BENEATH)
    name = os.fsencode(path)
    for _ in range(_TRIES):
        fd: int = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(name),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        if ctypes.get_errno() not in {errno.EAGAIN, errno.EINTR}:
            break
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def open_unlinked(root: int, path: str, flags: int) -> int:
    """As `open_beneath`, but any link in the path is an error, and it may lead through mounts.

    It opens one component after the other.
    """
    flags |= os.O_CLOEXEC
    if not flags & os.O_PATH:
        flags |= os.O_NOCTTY | os.O_NONBLOCK
    *folders, name = path.split("/")
    here = os.dup(root)
    try:
        for folder in folders:
            below = _open_here(here, folder, FOLDER | os.O_CLOEXEC)
            os.close(here)
            here = below
        return _open_here(here, name, flags)
    finally:
        os.close(here)


def _open_here(folder: int, name: str, flags: int) -> int:
    try:
        fd = os.open(name, flags | os.O_NOFOLLOW, dir_fd=folder)
    except NotADirectoryError:
        _refuse_link(os.stat(name, dir_fd=folder, follow_symlinks=False))
        raise
    try:
        _refuse_link(os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd


def _refuse_link(found: os.stat_result) -> None:
    """Raises ELOOP for a link, which O_NOFOLLOW does not: with O_PATH it opens links."""
    if stat.S_ISLNK(found.st_mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
