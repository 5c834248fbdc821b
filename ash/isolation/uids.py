"""Host users that exist nowhere but in a sandbox each.

Root would be root outside of a user namespace whatever it is called inside. So each sandbox of
a daemon that runs as root is given an unprivileged user of the host, and its folders with it.
"""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from threading import Lock

# Nobody else gives these out: container managers end at 1,879,048,191 (systemd's
# docs/UIDS-GIDS.md), and above 2,147,483,647 programs take them for negative numbers.
FIRST = 2_000_000_000
COUNT = 65_536


class Uids:
    """The lowest one, `root`, is what root inside is outside; no process ever is it."""

    def __init__(self, first: int = FIRST, count: int = COUNT) -> None:
        self.root = first
        self._first = first + 1
        self._count = count - 1
        self._taken: set[int] = set()
        # Beginning anywhere keeps two daemons on one host apart, and a user that was just given
        # back from being somebody else's at once.
        self._next = secrets.randbelow(self._count)
        self._lock = Lock()

    def take(self, wanted: int) -> int:
        """A user that no live sandbox has, `wanted` if that is such a one.

        Raises BlockingIOError if there is none.
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
    """Makes the folder and all in it `uid`'s, links themselves and not what they lead to.

    The folder itself goes last: once it is `uid`'s, so is all in it, and nothing is to be done.
    Nobody may be changing it meanwhile. Blocks. Raises OSError.
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
