"""Version 2 gives limits only to whom its part of the tree has been handed: this takes it.

The rules are systemd's (https://systemd.io/CGROUP_DELEGATION): only a delegated group may be
divided, and since a divided one has no processes of its own, they move to a leaf.
"""

import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ash.limits import cgroupfs

CONTROLLERS = ("cpu", "memory", "pids")

# The daemon's own place. Started again from a shell that an earlier daemon moved there, it
# finds itself in it.
LEAF = "ashd"

# Newer systemds write the first, older ones the second.
_DELEGATED = ("user.delegate", "trusted.delegate")

# Processes are moved one by one, and one may start another meanwhile.
_MOVES = 20

# There if and only if systemd is what started the machine, see sd_booted(3).
_SYSTEMD = Path("/run/systemd/system")

# systemd answers in a few ms; a machine that boots is busy.
_SYSTEMD_SECONDS = 5.0


def delegated(own: Path, path: str) -> Path | None:
    """The group that is ours to divide: the daemon's own or, if that is a leaf, its parent.

    `path` is what the kernel calls `own`.
    """
    if path == "/" or _is_delegated(own):
        return own
    if path.count("/") == 1 and own.name == LEAF:
        return own.parent
    return own.parent if _is_delegated(own.parent) else None


def divide(base: Path) -> tuple[str, ...]:
    """Hands what controllers there are on to the groups below `base`. Says which those are.

    Raises OSError if there are processes in it that can't be moved.
    """
    there = (base / "cgroup.controllers").read_text().split()
    wanted = tuple(name for name in CONTROLLERS if name in there)
    if not set(wanted) <= set((base / "cgroup.subtree_control").read_text().split()):
        # Only the root of the whole tree, which has no type, may keep its processes.
        if (base / "cgroup.type").exists():
            _vacate(base)
        hand_on(base, wanted)
    return wanted


def hand_on(group: Path, controllers: tuple[str, ...]) -> None:
    """Raises OSError."""
    cgroupfs.write(group / "cgroup.subtree_control", " ".join(f"+{name}" for name in controllers))


def ask_systemd() -> bool:
    """Moves this process to a scope of its own that systemd won't touch. Blocks.

    What `systemd-run --scope -p Delegate=yes` does, for a process that already runs. False if
    there is no systemd, if it says no, and for a service: `systemctl stop` must find it.
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
    """The manager answers once it has taken the job, not once it has done it."""
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
