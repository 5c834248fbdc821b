"""The resource group of one sandbox: its limits, which of them were hit, and killing it."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import trio

from ash.limits import cgroupfs
from ash.limits.amounts import MB, Limits
from ash.limits.cgroup_versions import CgroupVersion, OomCounts
from ash.limits.cgroupfs import Folders

# A process's open files. The CLI has 40 when it works; some servers and test runners want more
# than a thousand. 256 processes with so many are a million, which a kernel can hold.
OPEN_FILES = 4096

# When the memory of the machine is full, the kernel kills sandboxes before the daemon. The unit is
# a thousandth of the memory, at most 1000. `bin/bash` raises tools above their engine.
_OOM_STEP, _OOM_MOST = 200, 1000

# Each `ulimit` sets one limit: more is not the same in dash, bash and busybox. The unit of -f is
# 512 bytes, that of -d a KiB. The limit of processes is -u in bash and -p in dash.
_SCRIPT = """\
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done
echo "$2" > /proc/self/oom_score_adj
ulimit -c 0; ulimit -n "$3"; ulimit -f "$4"
[ -z "$5" ] || ulimit -d "$5"
[ -z "$6" ] || ulimit -u "$6" 2>/dev/null || ulimit -p "$6"
shift 6
exec "$@"
"""


def joining_prefix(folders: Folders, limits: Limits) -> list[str]:
    """What to put before a command, so that it runs in the cgroups from its first instruction.

    It has to be run as the daemon's user; a command that changes the user comes after it. If it
    can't enter the cgroups it exits with 125 and does not run the command. Where there is no
    cgroup it limits the memory of each process, and the processes of the user if that is not root.
    """
    groups = [str(folder / "cgroup.procs") for folder in dict.fromkeys(folders.values())]
    blocks = str(limits.disk_mb * MB // 512)
    memory = "" if "memory" in folders else str(limits.memory_mb * MB // 1024)
    processes = "" if "pids" in folders else str(limits.max_processes)
    amounts = (_oom_score(), str(_open_files()), blocks, memory, processes)
    return ["/bin/sh", "-c", _SCRIPT, "join", *groups, "--", *amounts]


def _oom_score() -> str:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    return str(min(own + _OOM_STEP, _OOM_MOST))


def _open_files() -> int:
    """At most the present hard limit, unless we are root: only root may raise it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY:
        return OPEN_FILES
    return min(OPEN_FILES, hard)


# The pauses between two looks at a group that is about to become empty. Most do so at once.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class ResourceGroup:
    """The limits of one sandbox; `ResourceGroups.open` makes it before the first process starts.

    That process joins the group by the command `prefix`. Without cgroups the group has no folders:
    then only `prefix` has an effect, and killing is left to whoever kills the process group.
    """

    def __init__(self, version: CgroupVersion, folders: Folders, limits: Limits) -> None:
        self.limits = limits
        self.prefix = joining_prefix(folders, limits)
        self._version = version
        self._folders = folders
        self._seen_oom = OomCounts(0, 0)
        self._seen_pids = 0
        self._notes: list[str] = []

    @property
    def folders(self) -> list[Path]:
        """Its folders, each once."""
        return list(dict.fromkeys(self._folders.values()))

    def kill(self) -> None:
        """Sends SIGKILL to all its processes, those that left their session or parent included."""
        cgroupfs.kill(self._folders)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still meanwhile, if there is version 2. They can be killed.

        A call of the kernel that one of them is in goes on.
        """
        self._freeze("1")
        try:
            yield
        finally:
            self._freeze("0")

    def _freeze(self, value: str) -> None:
        # Opened without creating it: an older kernel doesn't have this file.
        with (
            suppress(KeyError, OSError),
            (self._folders["kill"] / "cgroup.freeze").open("r+") as file,
        ):
            file.write(value)

    async def empty(self) -> None:
        """Returns once it has no process."""
        pause = _FIRST_PAUSE
        while cgroupfs.populated(self._folders):
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def remove(self) -> bool:
        """Kills what is left and removes the folders; False if that took over END_SECONDS."""
        return await trio.to_thread.run_sync(cgroupfs.end_groups, self._folders)

    def processes(self) -> set[int]:
        """The ids of its processes."""
        return set[int]().union(*map(cgroupfs.processes, self.folders))

    def cpu_used(self) -> int | None:
        """The CPU time of all that has ever run in it, in ns; None if it is not counted."""
        return cgroupfs.cpu_used(self._folders)

    def pids_hit(self) -> int:
        """How often a process could not be started because there were too many."""
        if "pids" not in self._folders:
            return 0
        return cgroupfs.counter(self._folders["pids"] / "pids.events", "max")

    def note(self, text: str) -> None:
        """Adds a limit that was hit and that the kernel does not count to the next report."""
        self._notes.append(text)

    def take_limit_report(self) -> str | None:
        """Which limits were hit since the last call, in words for the agent's user."""
        hits, self._notes = self._notes, []
        hits += self._memory_hits() + self._pids_hits()
        return ". ".join(hits) or None

    def _memory_hits(self) -> list[str]:
        before, self._seen_oom = self._seen_oom, self._oom()
        if self._seen_oom.kills == before.kills:
            return []
        if self._seen_oom.full == before.full:
            return ["A process of the agent was ended because the machine ran out of memory"]
        return [f"The agent went over its memory limit of {self.limits.memory_mb} MB"]

    def _pids_hits(self) -> list[str]:
        before, self._seen_pids = self._seen_pids, self.pids_hit()
        if self._seen_pids == before:
            return []
        most = self.limits.max_processes
        return [f"The agent went over its limit of {most} processes and threads"]

    def _oom(self) -> OomCounts:
        memory = self._folders.get("memory")
        return self._version.oom(memory) if memory else OomCounts(0, 0)


def make(version: CgroupVersion, folders: Folders, limits: Limits) -> ResourceGroup:
    """Makes the folders and sets the limits; blocks. Removes them again if it raises OSError."""
    try:
        for folder in dict.fromkeys(folders.values()):
            cgroupfs.make(folder)
        _set(version, folders, limits)
    except OSError:
        cgroupfs.end_groups(folders)
        raise
    return ResourceGroup(version, folders, limits)


def _set(version: CgroupVersion, folders: Folders, limits: Limits) -> None:
    for setting in version.settings(limits):
        if setting.controller not in folders:
            continue
        file = folders[setting.controller] / setting.file
        if not setting.optional or file.exists():
            cgroupfs.write(file, setting.value)
