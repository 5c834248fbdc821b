"""One sandbox's cage: what it may take, what it took too much of, and how all of it ends."""

import os
import resource
from pathlib import Path

import trio

from ash.limits import cgroupfs
from ash.limits.amounts import MB, Limits
from ash.limits.cgroup_versions import CgroupVersion, OomCounts
from ash.limits.cgroupfs import Folders

# The CLI has 40 files open when it works; some servers and test runners want a thousand and
# more. With 64 processes that makes a quarter of a million, which a kernel bears.
OPEN_FILES = 4096

# When the machine itself is full, sandboxes are ended before the daemon that has all of them.
# It is in thousandths of the memory, 1000 the most. `bin/bash` sets tools above their engine.
_OOM_STEP, _OOM_MOST = 200, 1000

# One `ulimit` each and no other options: what dash, bash and busybox agree on. Files are in
# units of 512 bytes, memory in KiB. bash and dash call the limit of processes -u and -p.
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
    """A prefix to a command: it runs inside of the cgroups from before its first instruction.

    It must be run as the daemon's user; who becomes another user does so behind it. Exits with
    125 if it can't get in: then the command does not run. For what has no cgroup there is a
    limit for each process (memory) or user (processes, if not root).
    """
    groups = [str(folder / "cgroup.procs") for folder in dict.fromkeys(folders.values())]
    blocks = str(limits.disk_mb * MB // 512)
    memory = "" if "memory" in folders else str(limits.memory_mb * MB // 1024)
    processes = "" if "pids" in folders else str(limits.max_processes)
    amounts = (_oom_score(), str(_open_files()), blocks, memory, processes)
    return ["/bin/sh", "-c", _SCRIPT, "cage", *groups, "--", *amounts]


def _oom_score() -> str:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    return str(min(own + _OOM_STEP, _OOM_MOST))


def _open_files() -> int:
    """What may be asked for: only root may raise a hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY:
        return OPEN_FILES
    return min(OPEN_FILES, hard)


# How often a cage is looked at that is to become empty: often at first, as most are at once.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class ResourceGroup:
    """The limits of one sandbox; `ResourceGroups.open` makes it before the first process starts.

    That process joins by the command `prefix`. Where there are no cgroups the group has no
    folders: then only `prefix` has an effect, and killing is left to the process's own group and
    namespace.
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
        """Its folders in the kernel's trees, each once."""
        return list(dict.fromkeys(self._folders.values()))

    def kill(self) -> None:
        """SIGKILL to all in it, children that left their session or parent included."""
        cgroupfs.kill(self._folders)

    async def empty(self) -> None:
        """Returns once there is no process in it."""
        pause = _FIRST_PAUSE
        while cgroupfs.populated(self._folders):
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def remove(self) -> bool:
        """Kills what is left and removes the cage; False if it withstood END_SECONDS."""
        return await trio.to_thread.run_sync(cgroupfs.end_groups, self._folders)

    def processes(self) -> set[int]:
        """The ids of all in it, threads not among them."""
        return set[int]().union(*map(cgroupfs.processes, self.folders))

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        return self._oom().kills

    def cpu_used(self) -> int | None:
        """The CPU time of all that has ever run in it, in ns; None if it is not counted."""
        return cgroupfs.cpu_used(self._folders)

    def pids_hit(self) -> int:
        """How often a process could not be started because there were too many."""
        if "pids" not in self._folders:
            return 0
        return cgroupfs.counter(self._folders["pids"] / "pids.events", "max")

    def note(self, text: str) -> None:
        """Adds what was hit that the kernel does not count, for the next `take_limit_report`."""
        self._notes.append(text)

    def take_limit_report(self) -> str | None:
        """Which limits were hit since the last call, for the one who is to hear of it."""
        said, self._notes = self._notes, []
        said += self._memory_news() + self._pids_news()
        return ". ".join(said) or None

    def _memory_news(self) -> list[str]:
        before, self._seen_oom = self._seen_oom, self._oom()
        if self._seen_oom.kills == before.kills:
            return []
        if self._seen_oom.full == before.full:
            return ["A process of the agent was ended because the machine ran out of memory"]
        return [f"The agent went over its memory limit of {self.limits.memory_mb} MB"]

    def _pids_news(self) -> list[str]:
        before, self._seen_pids = self._seen_pids, self.pids_hit()
        if self._seen_pids == before:
            return []
        most = self.limits.max_processes
        return [f"The agent went over its limit of {most} processes and threads"]

    def _oom(self) -> OomCounts:
        memory = self._folders.get("memory")
        return self._version.oom(memory) if memory else OomCounts(0, 0)


def make(version: CgroupVersion, folders: Folders, limits: Limits) -> ResourceGroup:
    """Makes the folders and sets the limits; blocks. Raises OSError, and then leaves nothing."""
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
