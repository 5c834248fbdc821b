"""Locks the data directory, which only one process at a time may use, and names its folders."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ash.errors import StartError

LOCK_FILE = "ashd.lock"

# Copies of agents, folders of live sandboxes, folders of other sessions, and files of snapshots
# that are being packed or unpacked.
AGENTS, SANDBOXES, SESSIONS, TRANSFERS = "agents", "sandboxes", "sessions", "transfers"
FOLDERS = (AGENTS, SANDBOXES, SESSIONS, TRANSFERS)

# Longer than the name that any owner writes into the lock file.
_OWNER_BYTES = 200


@contextmanager
def owned(data_dir: Path, owner: str) -> Iterator[None]:
    """Locks the data directory for the block; the kernel releases the lock even after a crash.

    `owner` is shown to another process that is refused. Raises StartError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"Can't write to the data directory {data_dir}: {error.strerror}"
        ) from None
    try:
        _lock(lock, data_dir)
        _check_writable(data_dir)
        os.ftruncate(lock, 0)
        os.pwrite(lock, owner.encode(), 0)
        yield
    finally:
        os.close(lock)


def _check_writable(data_dir: Path) -> None:
    """Raises StartError for a folder that can't be written, before every request fails on it."""
    for name in FOLDERS:
        folder = data_dir / name
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise StartError(f"Can't write to {folder}: is it mounted read-only, or another's?")


def _lock(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, _OWNER_BYTES, 0).decode(errors="replace") or "Another process"
        raise StartError(f"{owner} uses the data directory {data_dir}") from None
