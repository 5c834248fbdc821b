"""Measures what folders take on disk, and what processes hold of files that were deleted."""

import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path

from ash.limits.closed_process import held_by
from ash.workspaces.copy_program import MAX_DEPTH

# `st_blocks` is in units of 512 bytes, whatever block size the file system has.
_BLOCK = 512

# An empty file takes no block, but it takes an inode, and a disk has a fixed number of them:
# ext4 has one for each 16 KiB. Counting each file with 1 KiB at least bounds them as well.
_LEAST = 1024


# So many open files of a sandbox are looked at: 256 processes with 200 each.
MAX_HELD = 50_000

# What a folder counts that can't be looked into: more than any limit. Else it would hide files.
UNREADABLE = 1 << 62

# So often a folder is opened to its owner that an agent closes again meanwhile.
_TRIES = 10

# Owner may list a folder, and look at what is in it.
_OPEN = 0o500

# What a mapping of memory that is no file is called in /proc/PID/maps.
_NO_FILES = (b"/memfd:", b"/dev/zero", b"/SYSV", b"/[aio]", b"/dev/shm/")


class TooManyHeld(Exception):
    """The processes hold more than MAX_HELD files open."""


class TooDeep(Exception):
    """The folders are nested more than MAX_DEPTH deep."""


def entry_sizes(folders: Sequence[Path]) -> Iterator[int]:
    """Yields the bytes that each entry takes on disk.

    A file with several names counts once, and its other names as much as an empty file: else a
    sandbox could have millions of them. A folder that stays closed counts as UNREADABLE. Blocks, a
    few µs an entry. Raises TooDeep, and OSError if the daemon itself can't go on. Holds descriptors
    until it is exhausted or closed.
    """
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        try:
            with closing(_entries(folder)) as entries:
                for level, entry in entries:
                    with suppress(FileNotFoundError):
                        yield _size(level.stat(entry), seen)
        except PermissionError:
            yield UNREADABLE


def unlinked_sizes(pids: Iterable[int], device: int) -> Generator[int]:
    """Yields the bytes of files on `device` that were deleted and that a process still holds.

    Also yields 0 for everything else that a process holds, as looking at it takes time, too. All
    threads of a process have its descriptors: the filter of system calls sees to that. Raises
    TooManyHeld.
    """
    seen: set[tuple[int, int]] = set()
    held = 0
    for pid in pids:
        for size in _held_sizes(pid, device, seen):
            held += 1
            if held > MAX_HELD:
                raise TooManyHeld
            yield size
        with suppress(OSError), Path(f"/proc/{pid}/maps").open("rb") as lines:
            for line in lines:
                yield _mapped_size(pid, line, device, seen)


def family(pid: int) -> set[int]:
    """The process and all below it. Blocks, some µs for each."""
    found, due = set[int](), [pid]
    while due:
        each = due.pop()
        found.add(each)
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                children = (task / "children").read_text()
                due += set(map(int, children.split())) - found
    return found


def _held_sizes(pid: int, device: int, seen: set[tuple[int, int]]) -> Generator[int]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                yield _unlinked_size(entry.path, device, seen)
    except PermissionError:
        with suppress(FileNotFoundError, ProcessLookupError):
            for found in held_by(pid):
                yield 0 if found is None else _unlinked(found, device, seen)
    except (FileNotFoundError, ProcessLookupError):
        pass


def _mapped_size(pid: int, line: bytes, device: int, seen: set[tuple[int, int]]) -> int:
    """What a line of /proc/PID/maps stands for.

    The kernel marks the names of deleted files there. A stat of each mapping would be as right
    but takes eight times as long: an idle Python has a hundred of them.
    """
    if not line.endswith(b" (deleted)\n"):
        return 0
    addresses = line.partition(b" ")[0].decode()
    try:
        found = os.stat(f"/proc/{pid}/map_files/{addresses}")  # noqa: PTH116 - as below
    except PermissionError:
        return _length(line, device, seen)
    except OSError:
        return 0
    return _unlinked(found, device, seen)


def _length(line: bytes, device: int, seen: set[tuple[int, int]]) -> int:
    """How much of a deleted file a process has mapped, for a daemon that may not look at the file.

    The fields of a line: addresses, permissions, offset, device, inode, path.
    """
    addresses, _, offset, number, inode, path = line.split(maxsplit=5)
    major, minor = number.split(b":")
    if os.makedev(int(major, 16), int(minor, 16)) != device or path.startswith(_NO_FILES):
        return 0
    which = (device, int(inode))
    if which in seen:
        return 0
    seen.add(which)
    start, end = addresses.split(b"-")
    return int(offset, 16) + int(end, 16) - int(start, 16)


def _unlinked_size(path: str, device: int, seen: set[tuple[int, int]]) -> int:
    with suppress(OSError):
        found = os.stat(path)  # noqa: PTH116 - it is called for each descriptor of each process
        return _unlinked(found, device, seen)
    return 0


def _unlinked(found: os.stat_result, device: int, seen: set[tuple[int, int]]) -> int:
    which = (found.st_dev, found.st_ino)
    counts = found.st_dev == device and found.st_nlink == 0 and stat.S_ISREG(found.st_mode)
    if not counts or which in seen:
        return 0
    seen.add(which)
    return found.st_blocks * _BLOCK


def _size(found: os.stat_result, seen: set[tuple[int, int]]) -> int:
    if found.st_nlink > 1 and not stat.S_ISDIR(found.st_mode):
        which = (found.st_dev, found.st_ino)
        if which in seen:
            return _LEAST
        seen.add(which)
    return max(found.st_blocks * _BLOCK, _LEAST)


def _entries(root: Path) -> Generator[tuple["_Level", os.DirEntry[str]]]:
    """Yields everything below `root` with its folder; each is opened from the one above it."""
    levels: list[_Level] = []
    try:
        _descend(levels, os.fspath(root))
        while levels:
            entry = next(levels[-1].entries, None)
            if entry is None:
                levels.pop().close()
                continue
            yield levels[-1], entry
            if entry.is_dir(follow_symlinks=False):
                _descend(levels, entry.name)
    finally:
        for level in levels:
            level.close()


class _Level:
    """An open folder. Making it raises OSError if `name` is not, or no longer, a folder."""

    def __init__(self, name: str, parent: int | None) -> None:
        self._mode: int | None = None
        self.fd = self._open(name, parent)
        try:
            self.entries = os.scandir(self.fd)
        except OSError:
            os.close(self.fd)
            raise

    def _open(self, name: str, parent: int | None) -> int:
        """Opens it, also if it is closed to its owner, whom a daemon that is not root is for it."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        for _ in range(_TRIES):
            with suppress(PermissionError):
                return os.open(name, flags, dir_fd=parent)
            place = os.open(name, flags | os.O_PATH, dir_fd=parent)
            try:
                self._open_to_owner(place)
            finally:
                os.close(place)
        return os.open(name, flags, dir_fd=parent)

    def _open_to_owner(self, fd: int) -> None:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if mode & _OPEN != _OPEN:
            Path(f"/proc/self/fd/{fd}").chmod(mode | _OPEN)
            self._mode = mode if self._mode is None else self._mode

    def stat(self, entry: os.DirEntry[str]) -> os.stat_result:
        """Raises PermissionError if the folder stays closed, though it was opened to its owner."""
        for _ in range(_TRIES):
            with suppress(PermissionError):
                return entry.stat(follow_symlinks=False)
            self._open_to_owner(self.fd)
        return entry.stat(follow_symlinks=False)

    def close(self) -> None:
        self.entries.close()
        if self._mode is not None:
            with suppress(OSError):
                os.fchmod(self.fd, self._mode)
        os.close(self.fd)


def _descend(levels: list[_Level], name: str) -> None:
    if len(levels) > MAX_DEPTH:
        raise TooDeep
    # If it is gone or replaced, there is nothing in it that could be counted.
    with suppress(FileNotFoundError, NotADirectoryError):
        levels.append(_Level(name, levels[-1].fd if levels else None))
