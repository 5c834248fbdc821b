"""Walks folders while an agent may change them, or replace them by links. Blocks."""

import errno
import hashlib
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import NamedTuple

from ash.workspaces.copy_program import MAX_DEPTH

# What each file counts at least, for its inode; the disk limit counts the same.
LEAST_COST = 1024

# Folders that are large and can be rebuilt by install.sh or on demand.
REBUILDABLE = frozenset(
    {
        "node_modules",
        ".venv",
        "__pycache__",
        ".cache",
        ".npm",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".tox",
    }
)

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Unfit(Exception):
    """The files can't be packed, or not now. The text contains no path of the host."""


# What opening or reading an entry gives when it has become something else, or is leased.
_CHANGED = {errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EINVAL, errno.EAGAIN}


@contextmanager
def changes_unfit() -> Iterator[None]:
    """Raises Unfit instead of an OSError that only a change of the files explains."""
    try:
        yield
    except OSError as error:
        if error.errno not in _CHANGED:
            raise
        raise Unfit("the files were changed while they were packed") from None


class TreeEntry(NamedTuple):
    """A file, folder or link: `name` in the open folder `folder`; `path` begins with the top."""

    path: str
    folder: int
    name: str
    found: os.stat_result


def walk(tops: Mapping[str, str], left_out: frozenset[str]) -> Generator[TreeEntry]:
    """The folders `tops` and all folders, files and links below, always in the same order.

    `tops` maps the name in the archive to the folder's path. Sockets, devices, unreadable folders,
    and folders named in `left_out` are skipped. Raises Unfit, and OSError for a missing top.
    """
    for name, path in sorted(tops.items()):
        fd = os.open(path, FOLDER_FLAGS)
        try:
            yield TreeEntry(name, fd, ".", os.fstat(fd))
            yield from _below(fd, ".", name, left_out, 0)
        finally:
            os.close(fd)


def cost(found: os.stat_result) -> int:
    """The bytes that an entry counts against the disk limit; holes count, as they are unpacked."""
    return max(found.st_size, LEAST_COST) if stat.S_ISREG(found.st_mode) else LEAST_COST


class TreeListing:
    """A digest of a tree's state, without reading its files.

    It uses ctime, which unlike mtime can't be set back.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, entry: TreeEntry) -> None:
        found = entry.found
        parts = [os.fsencode(entry.path), b"%o" % found.st_mode]
        if not stat.S_ISDIR(found.st_mode):
            parts += [b"%d %d" % (found.st_size, found.st_ctime_ns)]
        self._hash.update(b"\0".join(parts) + b"\0\0")

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()


def listing(tops: Mapping[str, str], left_out: frozenset[str]) -> str:
    seen = TreeListing()
    with changes_unfit(), closing(walk(tops, left_out)) as entries:
        for entry in entries:
            seen.add(entry)
    return seen.digest


def _below(
    parent: int, name: str, path: str, left_out: frozenset[str], depth: int
) -> Generator[TreeEntry]:
    if depth > MAX_DEPTH:
        raise Unfit(f"folders are nested more than {MAX_DEPTH} deep")
    try:
        fd = os.open(name, FOLDER_FLAGS, dir_fd=parent)
    except PermissionError:
        return
    try:
        for inner in sorted(_names(fd)):
            found = os.stat(inner, dir_fd=fd, follow_symlinks=False)
            below = f"{path}/{inner}"
            if stat.S_ISDIR(found.st_mode):
                if inner not in left_out:
                    yield TreeEntry(below, fd, inner, found)
                    yield from _below(fd, inner, below, left_out, depth + 1)
            elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                yield TreeEntry(below, fd, inner, found)
    finally:
        os.close(fd)


def _names(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]
