"""Gives each sandbox a host user of its own, with no entry in /etc/passwd.

A user namespace does not change who a process is outside of it. So if the daemon is root, each
sandbox gets an unprivileged user of the host, which also owns the sandbox's folders.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

# Container managers use ids up to 1,879,048,191 (systemd's docs/UIDS-GIDS.md); above 2,147,483,647
# some programs take them for negative numbers.
FIRST = 2_000_000_000
COUNT = 65_536


class Uids:
    """Reserves host users. No process runs as the lowest one, `root`: it is user 0 of sandboxes."""

    def __init__(self, first: int = FIRST, count: int = COUNT) -> None:
        self.root = first
        self._first = first + 1
        self._count = count - 1
        self._taken: set[int] = set()
        # Begins at a random one, so that two daemons on one host rarely use the same users, and
        # goes round, so that a user is not given to another sandbox right after its release.
        self._next = secrets.randbelow(self._count)
        self._lock = Lock()

    def take(self, wanted: int) -> int:
        """Reserves a user that no live sandbox has; `wanted` if it is such a user.

        Raises BlockingIOError if none is free.
        """
        with self._lock:
            uid = wanted if self._is_free(wanted) else self._another()
            self._taken.add(uid)
            return uid

    def give_back(self, uid: int) -> None:
        with self._lock:
            self._taken.discard(uid)

    def _is_free(self, uid: int) -> bool:
        return self._first <= uid < self._first + self._count and uid not in self._taken

    def _another(self) -> int:
        for _ in range(self._count):
            uid = self._first + self._next
            self._next = (self._next + 1) % self._count
            if uid not in self._taken:
                return uid
        raise BlockingIOError("there are no more host users for sandboxes")


def owner(folder: Path) -> int:
    return folder.stat(follow_symlinks=False).st_uid


def give(folder: Path, uid: int) -> None:
    """Changes the owner of the folder and everything in it to `uid`, without following links.

    The folder itself comes last. So a folder that belongs to `uid` is known to be done, and one
    that was interrupted is done again. Nobody may change the folder meanwhile. Blocks. Raises
    OSError.
    """
    if owner(folder) == uid:
        return
    for path in _contents(folder):
        os.chown(path, uid, uid, follow_symlinks=False)
    os.chown(folder, uid, uid, follow_symlinks=False)


def _contents(folder: Path) -> Iterator[str]:
    for parent, folders, files in os.walk(folder, onerror=_raise):
        for name in (*folders, *files):
            yield f"{parent}/{name}"


def _raise(error: OSError) -> None:
    raise error
