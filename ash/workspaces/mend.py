"""Mends the two folders of a session before a new sandbox gets them. Blocks: use a thread.

An agent may have taken its own permissions away. Without isolation it may even have replaced one by
a link, which a daemon that is root must not follow. No process of the session runs meanwhile.
"""

import os
import stat
from pathlib import Path

from ash.workspaces.workspaces import HostPaths

_ASIDE = 20


def mend(paths: HostPaths) -> list[str]:
    """What was mended, each in a sentence. Raises OSError."""
    named = (("workspace", paths.workspace), ("home", paths.home))
    return [text for name, folder in named if (text := _mend(name, folder))]


def _mend(name: str, folder: Path) -> str:
    try:
        mode = folder.lstat().st_mode
    except FileNotFoundError:
        folder.mkdir(mode=0o700)
        return f"The session's {name} was gone; it is empty now"
    if not stat.S_ISDIR(mode):
        kept = _set_aside(folder)
        folder.mkdir(mode=0o700)
        return f"The session's {name} was no folder and was renamed to {kept}; it is empty now"
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        return ""
    _open_up(folder, stat.S_IMODE(mode) | stat.S_IRWXU)
    return f"The session's {name} was closed to its owner and was opened again"


def _set_aside(folder: Path) -> str:
    names = [f"{folder.name}.broken{n or ''}" for n in range(_ASIDE)]
    free = next((name for name in names if not os.path.lexists(folder.with_name(name))), names[-1])
    folder.rename(folder.with_name(free))
    return free


def _open_up(folder: Path, mode: int) -> None:
    """By a descriptor, since chmod by a path follows links."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        Path(f"/proc/self/fd/{fd}").chmod(mode)
    finally:
        os.close(fd)
