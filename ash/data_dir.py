"""The data directory, which one process at a time has to itself."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ash.errors import StartError

LOCK_FILE = "ashd.lock"

# Deployed copies, live sessions, those that were put away, what is being packed or unpacked.
AGENTS, SANDBOXES, SESSIONS, TRANSFERS = "agents", "sandboxes", "sessions", "transfers"
FOLDERS = (AGENTS, SANDBOXES, SESSIONS, TRANSFERS)

# More than an owner says of itself.
_OWNER_BYTES = 200


@contextmanager
def owned(data_dir: Path, owner: str) -> Iterator[None]:
    """The data directory, ours alone. The kernel gives the lock back, however we end.

    `owner` begins the sentence by which another one is refused. Raises StartError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"Can't write to the data directory {data_dir}: {error.strerror}"
        ) from None
    try:
        _take(lock, data_dir)
        _check(data_dir)
        os.ftruncate(lock, 0)
        os.pwrite(lock, owner.encode(), 0)
        yield
    finally:
        os.close(lock)


def _check(data_dir: Path) -> None:
    """What can't be written now would be told by each request."""
    for name in FOLDERS:
        folder = data_dir / name
        if folder.exists() and not os.access(folder, os.W_OK | os.X_OK):
            raise StartError(f"Can't write to {folder}: is it mounted read-only, or another's?")


def _take(lock: int, data_dir: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, _OWNER_BYTES, 0).decode(errors="replace") or "Another process"
        raise StartError(f"{owner} uses the data directory {data_dir}") from None
