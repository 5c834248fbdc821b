"""Runs programs as another user of the host, where the tests themselves are run by root.

python -P users.py UID PROGRAM ARGUMENT…
"""

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ash.isolation import launch

NOBODY = 65534


def as_user(uid: int) -> list[str]:
    """What goes before a command for it to be run by `uid`."""
    return [] if uid == os.geteuid() else [sys.executable, "-P", __file__, str(uid)]


def python(code: str, *arguments: str, uid: int = NOBODY, prefix: Sequence[str] = ()) -> str:
    """What the code prints; it runs with our modules."""
    command = [*as_user(uid), *prefix, sys.executable, "-P", "-c", code, *arguments]
    ran = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout.strip()


def _become(uid: int) -> None:
    """In a mount namespace of its own, as the interpreter may lie in root's home."""
    launch._call(launch._libc.unshare(launch.CLONE_NEWNS), "unshare")
    launch._mount("none", "/", launch.MS_REC | launch.MS_SLAVE)
    for path in {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).parents[2]}:
        _open_way(path)
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def _open_way(path: Path) -> None:
    """Puts an open folder with nothing but the next one on the way over each closed one."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            below = folder / path.relative_to(folder).parts[0]
            handle = os.open(below, os.O_PATH)
            launch._mount("way", str(folder), 0, "tmpfs", "mode=0755")
            below.mkdir()
            launch._mount(f"/proc/self/fd/{handle}", str(below), launch.MS_BIND | launch.MS_REC)
            os.close(handle)


if __name__ == "__main__":
    _become(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])
