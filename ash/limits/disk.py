"""Watches what sandboxes take on disk: there is no quota for a folder, so somebody has to look."""

import os
import stat
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice
from pathlib import Path

import trio

from ash.limits.amounts import MB

# st_blocks is in these, whatever the file system's own are.
_BLOCK = 512

# An empty file takes no block, but its inode, of which a disk has so many: ext4 has one for
# each 16 KiB. So a limit on bytes bounds them too.
_LEAST = 1024

# Deeper than any source tree is (npm of old made the deepest, 40). What walks a tree holds two
# descriptors a level, and what removes it recurses.
MAX_DEPTH = 100


class TooDeep(Exception):
    """Folders within folders, more than MAX_DEPTH of them."""


def entry_sizes(folders: Sequence[Path]) -> Iterator[int]:
    """The bytes that each entry takes on disk, lazily; hard links count once.

    Blocks, a few µs an entry. Raises TooDeep. Holds descriptors until it is exhausted or closed.
    """
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        with closing(_entries(folder)) as entries:
            for entry in entries:
                with suppress(OSError):
                    yield _size(entry.stat(follow_symlinks=False), seen)


def unlinked_sizes(pids: Iterable[int], device: int) -> Iterator[int]:
    """The bytes of files on `device` that have no name any more and are held by a process.

    Also yields 0 for each open file that is none of them, as looking costs the same.
    """
    seen: set[tuple[int, int]] = set()
    for pid in pids:
        for kind in ("fd", "map_files"):
            with suppress(OSError), os.scandir(f"/proc/{pid}/{kind}") as entries:
                for entry in entries:
                    yield _unlinked_size(entry, device, seen)


def _unlinked_size(entry: os.DirEntry[str], device: int, seen: set[tuple[int, int]]) -> int:
    with suppress(OSError):
        found = entry.stat()
        which = (found.st_dev, found.st_ino)
        mine = found.st_dev == device and found.st_nlink == 0 and stat.S_ISREG(found.st_mode)
        if mine and which not in seen:
            seen.add(which)
            return found.st_blocks * _BLOCK
    return 0


def _size(found: os.stat_result, seen: set[tuple[int, int]]) -> int:
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        which = (found.st_dev, found.st_ino)
        if which in seen:
            return 0
        seen.add(which)
    return max(found.st_blocks * _BLOCK, _LEAST)


def _entries(root: Path) -> Generator[os.DirEntry[str]]:
    """All below, each folder opened from the one that it was seen in."""
    levels: list[_Level] = []
    try:
        _descend(levels, os.fspath(root))
        while levels:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            yield entry
            if entry.is_dir(follow_symlinks=False):
                _descend(levels, entry.name)
    finally:
        for level in levels:
            level.close()


class _Level:
    """An open folder. Raises OSError if `name` is not, or no longer, one."""

    def __init__(self, name: str, parent: int | None) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(name, flags, dir_fd=parent)
        try:
            self.entries = os.scandir(self.fd)
        except OSError:
            os.close(self.fd)
            raise

    def close(self) -> None:
        self.entries.close()
        os.close(self.fd)


def _descend(levels: list[_Level], name: str) -> None:
    if len(levels) > MAX_DEPTH:
        raise TooDeep
    # Gone, replaced, or closed to us: then it holds nothing we could count.
    with suppress(OSError):
        levels.append(_Level(name, levels[-1].fd if levels else None))


# Looking at one costs about 4 µs: the sweep takes less than a tenth of one CPU.
ENTRIES_PER_SECOND = 20_000

# So many at a time in a thread, 4 ms: the interpreter is shared with the event loop.
SLICE = 1000

# A small workspace is looked at this often.
PASS_SECONDS = 1.0


class Watched:
    """One sandbox's folders. `used` is what they took when last looked at, in bytes."""

    def __init__(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]],
    ) -> None:
        self.used = 0
        self.complaint: str | None = None
        self._folders = folders
        self._limit_mb = limit_mb
        self._over = over
        self._processes = processes

    def sizes(self) -> Generator[int]:
        """What each file takes, lazily: blocks as it goes. Raises TooDeep, OSError."""
        yield from entry_sizes(self._folders)
        device = self._folders[0].stat().st_dev
        yield from unlinked_sizes(self._processes(), device)

    def judge(self, used: int, *, too_deep: bool = False) -> None:
        """Calls `over` when it has gone over, and not again before it was under."""
        before, self.used = self.complaint, used
        self.complaint = None
        if too_deep:
            self.complaint = f"The agent's folders are nested more than {MAX_DEPTH} deep"
        elif self.is_over(used):
            self.complaint = f"The agent went over its disk limit of {self._limit_mb} MB"
        if self.complaint and not before:
            self._over(self.complaint)

    def is_over(self, used: int) -> bool:
        return used > self._limit_mb * MB


class DiskSweep:
    """One task for a daemon. A pass looks at each sandbox in turn, at a bounded pace.

    An agent can outrun it by what it writes between two looks; a single file can't grow over
    the limit at all, by RLIMIT_FSIZE.
    """

    def __init__(self) -> None:
        self._watched: set[Watched] = set()

    @contextmanager
    def watch(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]] = tuple,
    ) -> Iterator[Watched]:
        """Calls `over` with a sentence, in the event loop, each time the folders go over.

        `processes` tells who may hold files that have no name any more.
        """
        watched = Watched(folders, limit_mb, over, processes)
        self._watched.add(watched)
        try:
            yield watched
        finally:
            self._watched.remove(watched)

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            begun = trio.current_time()
            for watched in list(self._watched):
                await self._look(watched)
            await trio.sleep_until(begun + PASS_SECONDS)

    async def _look(self, watched: Watched) -> None:
        """Stops as soon as it is too much."""
        used, too_deep = 0, False
        try:
            with closing(watched.sizes()) as sizes:
                while some := await trio.to_thread.run_sync(_take, sizes):
                    used += sum(some)
                    await trio.sleep(len(some) / ENTRIES_PER_SECOND)
                    if watched.is_over(used):
                        break
        except TooDeep:
            too_deep = True
        except OSError:
            return
        # It may have ended meanwhile.
        if watched in self._watched:
            watched.judge(used, too_deep=too_deep)


def _take(sizes: Iterable[int]) -> list[int]:
    return list(islice(sizes, SLICE))
