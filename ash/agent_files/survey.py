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
from ash.workspaces.safe_open import open_folder

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


def survey(root: Path) -> Survey:
    """Looks at the folder `root`, which must be resolved. Raises BadRequest and OSError."""
    walk = _Walk(root, IgnoreRules(_ignore_text(root)))
    entries = list(walk.entries("", 0))
    env = _env(root, walk)
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


def _ignore_text(root: Path) -> str:
    if not os.path.lexists(root / IGNORE_FILE):
        return ""
    try:
        return _read(_open(root, IGNORE_FILE), IGNORE_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRequest(f"{IGNORE_FILE}: it is not UTF-8") from None


def _env(root: Path, walk: "_Walk") -> bytes | None:
    """The text of `.env`; None if there is none, or if that is the name of a folder."""
    if not os.path.lexists(root / ENV_FILE) or (root / ENV_FILE).is_dir():
        return None
    try:
        file = _open(root, ENV_FILE)
    except AshError:
        walk.say(f"{ENV_FILE}: not read, it is not a regular file of this folder")
        return None
    if walk.env_left_out:
        walk.say(f"{ENV_FILE}: left out, its variables are the agent's env")
    return _read(file, ENV_FILE)


def _open(root: Path, name: str) -> OpenFile:
    """A file of the folder. Raises AshError, also for a link that leads out of the folder."""
    folder = open_folder(root)
    try:
        return open_file(folder, name)
    finally:
        os.close(folder)


def _read(file: OpenFile, name: str) -> bytes:
    try:
        if file.size > MAX_TEXT:
            raise BadRequest(f"{name}: it has more than {MAX_TEXT // 1024**2} MB")
        return file.read(0, file.size)
    finally:
        file.close()


class _Walk:
    """Goes through the folder, and gathers what there is to say on the way."""

    def __init__(self, root: Path, rules: IgnoreRules) -> None:
        self._root = root
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
        with os.scandir(self._root / folder) as found:
            inner = sorted(found, key=lambda entry: entry.name)
        for entry in inner:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if self._stays(path, entry):
                continue
            if entry.is_symlink():
                yield FolderEntry(path, "link", self._target(path))
            elif entry.is_dir():
                yield FolderEntry(path, "folder")
                yield from self.entries(path, depth + 1)
            else:
                yield FolderEntry(path, "file")

    def _stays(self, path: str, entry: os.DirEntry[str]) -> bool:
        """Whether the entry stays behind."""
        mode = entry.stat(follow_symlinks=False).st_mode
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

    def _target(self, path: str) -> str:
        """Where the link leads, from its own folder on if it leads into this one."""
        target = str((self._root / path).readlink())
        parent = path.rpartition("/")[0]
        if not leaves(parent, target):
            return target
        end = os.path.realpath(self._root / path)
        if not Path(end).is_relative_to(self._root):
            return target
        return os.path.relpath(end, self._root / parent)


def leaves(folder: str, target: str) -> bool:
    """Whether the text of a link in `folder` leads above the top, links on the way aside."""
    end = os.path.normpath(Path(folder) / target)
    return end == ".." or end.startswith(("../", "/"))
