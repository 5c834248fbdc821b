"""Makes hooks and the scripts of skills executable. All functions block.

Clients that send files as JSON lose the permissions, and Claude runs a tool that a hook should
have stopped if it can't execute the hook. `root` is a descriptor of the agent's folder.
"""

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from ash.errors import AshError
from ash.folder_check import SETTINGS_FILES, path_in_folder, shell_words
from ash.workspaces.files import open_file
from ash.workspaces.safe_open import open_beneath

# Bounds for what a hostile agent may have us read: parsing holds the GIL for some 2 ms, and taking
# all commands apart takes 0.2 s of a thread. No settings come near.
_MAX_SETTINGS = 128 * 1024
_MAX_COMMANDS = 100
_MAX_COMMAND = 500

# What the kernel can execute: a script that names its interpreter, and a program.
_PROGRAMS = (b"#!", b"\x7fELF")

_SCRIPT = re.compile(r"\.claude/(hooks|skills/[^/]+/scripts)/.+", re.DOTALL)


def find_scripts(folder: Path) -> list[str]:
    """The files in the places for scripts, in a folder whose links all stay inside."""
    tops = [folder / ".claude" / "hooks", *folder.glob(".claude/skills/*/scripts")]
    return sorted(
        str((Path(here) / name).relative_to(folder))
        for top in tops
        for here, _, names in os.walk(top)
        for name in names
    )


def is_script(path: str) -> bool:
    """Whether the path is in one of the places for scripts."""
    return bool(_SCRIPT.fullmatch(path))


def hook_programs(root: int) -> set[str]:
    """The paths of the folder that commands of hooks name, whether there are such files or not."""
    found = (
        path_in_folder(word)
        for file in SETTINGS_FILES
        for command in islice(_commands(_settings(root, file)), _MAX_COMMANDS)
        for word in _words(command[:_MAX_COMMAND])
    )
    return {path for path in found if path and _can_be_inside(path)}


def _can_be_inside(path: str) -> bool:
    """Opening a path does not check this on every kernel."""
    try:
        os.fsencode(path)
    except UnicodeEncodeError:  # half a surrogate pair, which JSON may hold
        return False
    return not path.startswith("..") and "\0" not in path


def can_be_executed(content: bytes) -> bool:
    """Whether a file with that content is a script or a program."""
    return content.startswith(_PROGRAMS)


def make_executable(root: int, paths: Iterable[str]) -> list[str]:
    """Makes those of the files executable that the kernel can execute; returns which it changed.

    Whoever may read such a file may then execute it. Paths are without `..`.
    """
    return [path for path in paths if _make_executable(root, path)]


def _make_executable(root: int, path: str) -> bool:
    try:
        fd = open_beneath(root, path, os.O_RDONLY)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        mode = stat.S_IMODE(found.st_mode) & 0o777
        wanted = mode | (mode & 0o444) >> 2
        if not stat.S_ISREG(found.st_mode) or mode == wanted:
            return False
        if not can_be_executed(os.pread(fd, 4, 0)):
            return False
        os.fchmod(fd, wanted)
    finally:
        os.close(fd)
    return True


def _settings(root: int, file: str) -> Any:
    """What a settings file says; None if it can't be read: the check of the folder reports that."""
    with suppress(AshError, ValueError, RecursionError):
        opened = open_file(root, file)
        try:
            return json.loads(opened.read(0, _MAX_SETTINGS))
        finally:
            opened.close()
    return None


def _commands(settings: Any) -> Iterator[str]:
    """The commands of `hooks: {event: [{hooks: [{command}]}]}`; other shapes have none."""
    hooks = _at(settings, "hooks")
    for matchers in hooks.values() if isinstance(hooks, dict) else ():
        for matcher in matchers if isinstance(matchers, list) else ():
            inner = _at(matcher, "hooks")
            for hook in inner if isinstance(inner, list) else ():
                if isinstance(command := _at(hook, "command"), str):
                    yield command


def _at(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _words(command: str) -> list[str]:
    try:
        return shell_words(command)
    except ValueError:
        return command.split()
