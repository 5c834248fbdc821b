"""Finds a cgroup of version 2 that the daemon may divide among its sandboxes, and divides it.

The rules are systemd's (https://systemd.io/CGROUP_DELEGATION): only a delegated group may be
divided. A divided group can't have processes of its own, so they are moved to a leaf below it.
"""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ash.limits import cgroupfs

CONTROLLERS = ("cpu", "memory", "pids")

# The group that the daemon moves to. A shell is moved along if it is in the same group, so a
# daemon that is started from that shell later is in the leaf already.
LEAF = "ashd"

# The attributes of a delegated group: newer versions of systemd set the first, older the second.
_DELEGATED = ("user.delegate", "trusted.delegate")

# How often the processes of a group are moved. They are moved one by one, and may start others.
_MOVES = 20

# It exists if and only if systemd is the machine's init, see sd_booted(3).
_SYSTEMD = Path("/run/systemd/system")

# systemd answers in a few ms, but a machine that boots is busy.
_SYSTEMD_SECONDS = 5.0


def delegated(own: Path, path: str) -> Path | None:
    """The group that we may divide: the daemon's own or, if that is a leaf, its parent.

    `path` is the kernel's name of `own`.
    """
    if path == "/" or _is_delegated(own):
        return own
    if path.count("/") == 1 and own.name == LEAF:
        return own.parent
    return own.parent if _is_delegated(own.parent) else None


def divide(base: Path) -> tuple[str, ...]:
    """Enables the available controllers for the groups below `base`, and returns them.

    Raises OSError if `base` has processes that can't be moved.
    """
    there = (base / "cgroup.controllers").read_text().split()
    wanted = tuple(name for name in CONTROLLERS if name in there)
    if not set(wanted) <= set((base / "cgroup.subtree_control").read_text().split()):
        # The root of the whole tree may keep its processes. Only the root has no type.
        if (base / "cgroup.type").exists():
            _vacate(base)
        hand_on(base, wanted)
    return wanted


def hand_on(group: Path, controllers: tuple[str, ...]) -> None:
    """Raises OSError."""
    cgroupfs.write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def ask_systemd() -> bool:
    """Asks systemd to move this process to a delegated scope of its own. Blocks.

    It is what `systemd-run --scope -p Delegate=yes` does, for a process that already runs. False
    if there is no systemd or if it refuses. A service is not moved: `systemctl stop` would no
    longer find it.
    """
    before = _own()
    if before.strip().endswith(".service") or not _SYSTEMD.is_dir():
        return False
    unit = ["ssa(sv)a(sa(sv))", f"ashd-{uuid4().hex[:8]}.scope", "fail"]
    properties = ["2", "PIDs", "au", "1", str(os.getpid()), "Delegate", "b", "true", "0"]
    try:
        _call_systemd("StartTransientUnit", *unit, *properties)
    except (OSError, subprocess.SubprocessError):
        return False
    return _moved(before)


def _call_systemd(method: str, *arguments: str) -> None:
    name = "org.freedesktop.systemd1"
    bus = [] if os.geteuid() == 0 else ["--user"]
    to = [name, "/org/freedesktop/systemd1", f"{name}.Manager", method]
    subprocess.run(
        ["/usr/bin/busctl", "call", "--quiet", *bus, *to, *arguments],
        timeout=_SYSTEMD_SECONDS,
        check=True,
        capture_output=True,
    )


def _moved(before: str) -> bool:
    """Waits for the move: systemd answers when it has accepted the job, not when it is done."""
    deadline = time.monotonic() + _SYSTEMD_SECONDS
    while _own() == before:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _own() -> str:
    return Path("/proc/self/cgroup").read_text()


def _is_delegated(group: Path) -> bool:
    for name in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _vacate(base: Path) -> None:
    leaf = base / LEAF
    with suppress(FileExistsError):
        cgroupfs.make(leaf)
    for _ in range(_MOVES):
        here = (base / "cgroup.procs").read_text().split()
        if not here:
            return
        for pid in here:
            with suppress(ProcessLookupError):
                cgroupfs.write(leaf / "cgroup.procs", pid)
