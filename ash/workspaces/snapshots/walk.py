"""Walks folders that may be changed, or replaced by links, while we look. Blocks."""

import hashlib
import os
import stat
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import NamedTuple

from ash.workspaces.copy_program import MAX_DEPTH

# An empty file takes no block but its inode, as the disk limit counts it too.
LEAST_COST = 1024

# Other people's code and caches: large, and made again by install.sh or on demand.
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
    """Files that can't be packed, or not now; a text without paths of the host."""


class TreeEntry(NamedTuple):
    """`name` in the open folder `folder`; `path` from the top on."""

    path: str
    folder: int
    name: str
    found: os.stat_result


def walk(tops: Mapping[str, str], left_out: frozenset[str]) -> Generator[TreeEntry]:
    """Folders, files and links below, in an order that is always the same.

    `tops` are folders of ours, each under the name that its contents get. Sockets and devices
    are left out, and what can't be read. `left_out` are names of folders. Raises Unfit, and
    OSError for a folder that is not there.
    """
    for name, path in sorted(tops.items()):
        fd = os.open(path, FOLDER_FLAGS)
        try:
            yield TreeEntry(name, fd, ".", os.fstat(fd))
            yield from _below(fd, ".", name, left_out, 0)
        finally:
            os.close(fd)


def cost(found: os.stat_result) -> int:
    """What it counts for against a disk limit: by its length, as it is written out in full."""
    return max(found.st_size, LEAST_COST) if stat.S_ISREG(found.st_mode) else LEAST_COST


class TreeListing:
    """Tells two states of a tree apart without reading its files.

    By ctime: unlike mtime it can't be set back.
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
    with closing(walk(tops, left_out)) as entries:
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
