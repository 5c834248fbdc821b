"""Lists the files of a workspace while its agent may be changing it. Blocks: use a thread."""

import os
import stat
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing, suppress

from msgspec import Struct

from ash.file_names import spelled
from ash.model import FileEntry, iso
from ash.workspaces.safe_open import FOLDER, open_beneath

# Folders with thousands of files that are not the agent's own work.
LEFT_OUT = frozenset({"node_modules", ".git", "__pycache__"})

# Nobody reads a longer list, and encoding its JSON (about 1 MB) would delay the event loop.
MAX_LISTED = 10_000
# Bounds the time to about half a second, since entries that are not listed take time too.
MAX_SEEN = 100_000

# The end of the year 9999. An agent can set a file's time to any 64-bit number.
_LAST_SECOND = 253_402_300_799


class FileListing(Struct):
    """The files, sorted by path; `truncated` says that there are more."""

    files: list[FileEntry]
    truncated: bool


def list_files(root: int, *, hidden: bool, check: Callable[[], None]) -> FileListing:
    """All regular files, and links to such files inside the workspace.

    `hidden` includes names that begin with a dot. `check` is called at every entry and may raise
    to end the walk. A folder that can't be read counts as empty.
    """
    files: list[FileEntry] = []
    folders = deque([""])
    seen = 0
    while folders:
        with closing(_scan(root, folders.popleft())) as entries:
            for path, entry in entries:
                check()
                seen += 1
                if seen > MAX_SEEN or len(files) == MAX_LISTED:
                    return _listing(files, truncated=True)
                if entry.name in LEFT_OUT or (entry.name.startswith(".") and not hidden):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(path)
                elif (found := _look(root, path, entry)) is not None:
                    files.append(_entry(path, found))
    return _listing(files, truncated=False)


def _scan(root: int, folder: str) -> Generator[tuple[str, os.DirEntry[str]], None, None]:
    try:
        fd = open_beneath(root, folder or ".", FOLDER)
    except OSError:
        return
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                yield f"{folder}/{entry.name}" if folder else entry.name, entry
    finally:
        os.close(fd)


def _look(root: int, path: str, entry: os.DirEntry[str]) -> os.stat_result | None:
    """The stat of a regular file, or of the file that a link leads to; None for others."""
    with suppress(OSError):
        found = _stat(root, path, entry)
        if stat.S_ISREG(found.st_mode):
            return found
    return None


def _stat(root: int, path: str, entry: os.DirEntry[str]) -> os.stat_result:
    if not entry.is_symlink():
        return entry.stat(follow_symlinks=False)
    fd = open_beneath(root, path, os.O_PATH)
    try:
        return os.fstat(fd)
    finally:
        os.close(fd)


def _entry(path: str, found: os.stat_result) -> FileEntry:
    modified = min(max(found.st_mtime, 0), _LAST_SECOND)
    return FileEntry(path=spelled(path), size=found.st_size, modified_at=iso(modified))


def _listing(files: list[FileEntry], *, truncated: bool) -> FileListing:
    return FileListing(sorted(files, key=lambda file: file.path), truncated)
