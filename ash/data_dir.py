"""Locks the data directory, which only one process at a time may use, and names its folders."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ash.errors import StartError

# Names the owner to whoever finds the directory locked.
OWNER_FILE = "ashd.lock"

# Copies of agents, folders of live sandboxes, folders of other sessions, and files of snapshots
# that are being packed or unpacked.
AGENTS, SANDBOXES, SESSIONS, TRANSFERS = "agents", "sandboxes", "sessions", "transfers"
FOLDERS = (AGENTS, SANDBOXES, SESSIONS, TRANSFERS)

# Longer than the name that any owner writes into the lock file.
_OWNER_BYTES = 200


def absolute(data_dir: Path) -> Path:
    """Raises StartError where a path can't be made of it that holds whatever happens later."""
    try:
        os.fsencode(data_dir).decode()
        return data_dir.absolute()
    except UnicodeDecodeError:
        shown = os.fsencode(data_dir).decode(errors="backslashreplace")
        raise StartError(f"The data directory {shown} is not UTF-8: rename it") from None
    except FileNotFoundError:
        raise StartError(
            f"The data directory {data_dir} is relative to a working directory that was deleted:"
            " start in another one"
        ) from None


@contextmanager
def owned(data_dir: Path, owner: str) -> Iterator[None]:
    """Locks the data directory for the block; the kernel releases the lock even after a crash.

    `owner` is shown to another process that is refused. Raises StartError.
    """
    with ExitStack() as held:
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            name = _open(held, data_dir / OWNER_FILE, os.O_RDWR | os.O_CREAT)
            # Not that file: somebody could delete it, and the next owner would lock another.
            lock = _open(held, data_dir, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StartError(
                f"Can't write to the data directory {data_dir}: {error.strerror}"
            ) from None
        _lock(lock, name, data_dir)
        _check_writable(data_dir)
        os.ftruncate(name, 0)
        os.pwrite(name, owner.encode(), 0)
        yield


def _open(held: ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
    held.callback(os.close, descriptor)
    return descriptor


def _check_writable(data_dir: Path) -> None:
    """Raises StartError for a folder that can't be written, before every request fails on it."""
    for name in FOLDERS:
        folder = data_dir / name
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise StartError(f"Can't write to {folder}: is it mounted read-only, or another's?")


def _lock(lock: int, name: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(name, _OWNER_BYTES, 0).decode(errors="replace") or "Another process"
        raise StartError(f"{owner} uses the data directory {data_dir}") from None
