"""Ends what is in cgroups, all of it, however it resists."""

import os
import signal
import time
from contextlib import suppress

from ash.sandbox.limits import cgroupfs
from ash.sandbox.limits.drivers import Folders

# After SIGKILL only a process in an uninterruptible system call is left: nobody can end that.
END_SECONDS = 5.0

# How long it takes the kernel to have ended one process; doubled up to the other for many.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


def kill(folders: Folders) -> None:
    """SIGKILL to every process, in one stroke where the kernel can (since 5.14).

    Elsewhere nobody inside can start another process before each is killed; it must be called
    again until none is left, as `end` does, for those that were just being born.
    """
    with suppress(KeyError, OSError):
        # Opened without creating it: an older kernel doesn't have it.
        with (folders["kill"] / "cgroup.kill").open("r+") as file:
            file.write("1")
        return
    with suppress(KeyError, OSError):
        cgroupfs.write(folders["pids"] / "pids.max", "0")
    for folder in dict.fromkeys(folders.values()):
        for pid in cgroupfs.processes(folder):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def populated(folders: Folders) -> bool:
    """Whether there is a process in any of them."""
    if "kill" in folders:
        return cgroupfs.counter(folders["kill"] / "cgroup.events", "populated") > 0
    return any(cgroupfs.processes(folder) for folder in folders.values())


def end(folders: Folders, seconds: float = END_SECONDS) -> bool:
    """Kills all and removes the folders; blocks. False if that could not be done in time.

    The time is the real one: the kernel knows of no other.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        kill(folders)
        if not populated(folders) and _removed(folders):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _removed(folders: Folders) -> bool:
    """A folder is busy for a moment after its last process was."""
    try:
        for folder in dict.fromkeys(folders.values()):
            cgroupfs.remove(folder)
    except OSError:
        return False
    return True
