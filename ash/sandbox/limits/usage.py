"""How much disk folders take, without following a link and whatever is done to them meanwhile."""

import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

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
