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
        kept = set_aside(folder)
        folder.mkdir(mode=0o700)
        return f"The session's {name} was no folder and was renamed to {kept}; it is empty now"
    if mode & stat.S_IRWXU == stat.S_IRWXU:
        return ""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        open_up(fd, stat.S_IMODE(mode) | stat.S_IRWXU)
    finally:
        os.close(fd)
    return f"The session's {name} was closed to its owner and was opened again"


def set_aside(folder: Path) -> str:
    """Renames what stands there; the last name that is tried may replace an older one."""
    names = [f"{folder.name}.broken{n or ''}" for n in range(_ASIDE)]
    free = next((name for name in names if not os.path.lexists(folder.with_name(name))), names[-1])
    folder.rename(folder.with_name(free))
    return free


def open_up(fd: int, mode: int) -> None:
    """By a descriptor with O_PATH, since chmod by a path follows links."""
    Path(f"/proc/self/fd/{fd}").chmod(mode)
