"""Looks at an agent's folder and decides what of it travels. Blocks: use a thread."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from msgspec import Struct

from ash.agent_files.env_file import ENV_FILE
from ash.agent_files.ignore import IGNORE_FILE, Ignored, IgnoreRules
from ash.errors import AshError, BadRequest
from ash.file_names import spelled
from ash.workspaces.copy_program import MAX_DEPTH
from ash.workspaces.files import OpenFile, open_file
from ash.workspaces.safe_open import FOLDER, open_beneath, open_unlinked

# Of an `.ashignore` or `.env`; nobody writes a longer one.
MAX_TEXT = 1024 * 1024

_KINDS = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_WORKTREE = "the repository of a worktree or submodule is elsewhere; git works in a copy of a clone"


class FolderEntry(NamedTuple):
    """A file, folder or link that travels; `path` is relative, `target` is where a link leads."""

    path: str
    kind: Literal["file", "folder", "link"]
    target: str = ""


class Survey(Struct):
    """What travels, parents first; what is to be said about it; and the text of `.env`."""

    entries: list[FolderEntry]
    warnings: list[str]
    env: bytes | None


def survey(root: Path, folder: int) -> Survey:
    """Looks at the folder `root`, which must be resolved; `folder` is its descriptor.

    Whatever is renamed meanwhile, nothing outside of it is read. Raises BadRequest and OSError.
    """
    walk = _Walk(root, folder, IgnoreRules(_ignore_text(folder)))
    entries = list(walk.entries("", 0))
    env = _env(folder, walk)
    return Survey(entries, walk.warnings() + list(_cut_off(root, entries)), env)


def _cut_off(root: Path, entries: list[FolderEntry]) -> Iterator[str]:
    """Says which links will lead nowhere, because what they lead to stays behind."""
    kept = {".", *(entry.path for entry in entries)}
    for entry in entries:
        end = Path(os.path.realpath(root / entry.path))
        if entry.kind == "link" and end.is_relative_to(root) and end.exists():
            path = str(end.relative_to(root))
            if path not in kept:
                yield f"{spelled(entry.path)}: leads nowhere, {spelled(path)} is left out"


def _ignore_text(folder: int) -> str:
    if not _exists(folder, IGNORE_FILE):
        return ""
    try:
        return _read(open_file(folder, IGNORE_FILE), IGNORE_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest(f"{IGNORE_FILE}: it is not UTF-8") from None


def _env(folder: int, walk: "_Walk") -> bytes | None:
    """The text of `.env`; None if there is none, or if that is the name of a folder."""
    if not _exists(folder, ENV_FILE) or _is_folder(folder, ENV_FILE):
        return None
    try:
        file = open_file(folder, ENV_FILE)
    except AshError:
        walk.say(f"{ENV_FILE}: not read, it is not a regular file of this folder")
        return None
    if walk.env_left_out:
        walk.say(f"{ENV_FILE}: left out, its variables are the agent's env")
    return _read(file, ENV_FILE)


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _is_folder(folder: int, name: str) -> bool:
    try:
        os.close(open_beneath(folder, name, FOLDER))
    except OSError:
        return False
    return True


def _read(file: OpenFile, name: str) -> bytes:
    try:
        if file.size > MAX_TEXT:
            raise BadRequest(f"{name}: it has more than {MAX_TEXT // 1024**2} MB")
        return file.read(0, file.size)
    finally:
        file.close()


class _Walk:
    """Goes through the folder, and gathers what there is to say on the way."""

    def __init__(self, root: Path, folder: int, rules: IgnoreRules) -> None:
        self._root = root
        self._folder = folder
        self._rules = rules
        self.env_left_out = False
        self._said: list[str] = []
        self._by_default: dict[str, list[str]] = {}

    def say(self, warning: str) -> None:
        self._said.append(warning)

    def warnings(self) -> list[str]:
        """One line for all paths that the same default pattern leaves out."""
        return self._said + [
            f"{spelled(paths[0])}{f' and {len(paths) - 1} more' if paths[1:] else ''}: left out by"
            f' default; the line "!{pattern}" in {IGNORE_FILE} keeps it'
            for pattern, paths in self._by_default.items()
        ]

    def entries(self, folder: str, depth: int) -> Iterator[FolderEntry]:
        """Raises BadRequest if folders are nested too deeply."""
        if depth > MAX_DEPTH:
            raise BadRequest("Its folders are nested too deeply")
        for name, mode, target in self._listed(folder):
            path = f"{folder}/{name}" if folder else name
            if self._stays(path, mode):
                continue
            if stat.S_ISLNK(mode):
                yield FolderEntry(path, "link", self._inner_target(path, target))
            elif stat.S_ISDIR(mode):
                yield FolderEntry(path, "folder")
                yield from self.entries(path, depth + 1)
            else:
                yield FolderEntry(path, "file")

    def _listed(self, folder: str) -> list[tuple[str, int, str]]:
        """The names in a folder, the mode of each, and where it leads if it is a link."""
        fd = open_unlinked(self._folder, folder or ".", FOLDER)
        try:
            with os.scandir(fd) as found:
                return sorted(_listed(fd, entry) for entry in found)
        except OSError as error:
            error.filename = error.filename or str(self._root / folder)
            raise
        finally:
            os.close(fd)

    def _stays(self, path: str, mode: int) -> bool:
        """Whether the entry stays behind."""
        ignored, pattern = self._rules.ignored(path, folder=stat.S_ISDIR(mode))
        worktree = path == ".git" and stat.S_ISREG(mode)
        if worktree and ignored is not Ignored.BY_OWNER:
            self.say(f".git: {_WORKTREE}")
        elif ignored is Ignored.BY_DEFAULT and path == ENV_FILE and not stat.S_ISDIR(mode):
            self.env_left_out = True
        elif ignored is Ignored.BY_DEFAULT:
            self._by_default.setdefault(pattern, []).append(path)
        if ignored is not Ignored.NO:
            return True
        return self._is_odd(path, mode)

    def _is_odd(self, path: str, mode: int) -> bool:
        """Whether it is something that can't be copied, or is of no use in a copy."""
        what = _KINDS.get(stat.S_IFMT(mode))
        if stat.S_ISLNK(mode) and path.rpartition("/")[2].startswith(".#"):
            what = "a lock of Emacs"
        if what is not None:
            self.say(f"{spelled(path)}: left out, it is {what}")
        return what is not None

    def _inner_target(self, path: str, target: str) -> str:
        """Where the link leads, from its own folder on if it leads into this one."""
        parent = path.rpartition("/")[0]
        if not leaves(parent, target):
            return target
        end = os.path.realpath(self._root / path)
        if not Path(end).is_relative_to(self._root):
            return target
        return os.path.relpath(end, self._root / parent)


def _listed(folder: int, entry: os.DirEntry[str]) -> tuple[str, int, str]:
    mode = entry.stat(follow_symlinks=False).st_mode
    target = os.readlink(entry.name, dir_fd=folder) if stat.S_ISLNK(mode) else ""
    return entry.name, mode, target


def leaves(folder: str, target: str) -> bool:
    """Whether the text of a link in `folder` leads above the top, links on the way aside."""
    end = os.path.normpath(Path(folder) / target)
    return end == ".." or end.startswith(("../", "/"))
