"""One sandbox's cage: what it may take, what it took too much of, and how all of it ends."""

from pathlib import Path

import trio

from ash.sandbox.limits import cgroupfs, killing
from ash.sandbox.limits.amounts import Limits
from ash.sandbox.limits.drivers import CgroupVersion, Folders, OomCounts
from ash.sandbox.limits.entering import joining_prefix

# How often a cage is looked at that is to become empty: often at first, as most are at once.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.05


class ResourceGroup:
    """Made before its first process, which gets in by the prefix `joining_prefix`; see `Cages.open`.

    Where there are no cgroups it has no folders: then only `joining_prefix` has an effect, and killing
    is left to the process's own group and namespace.
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
        killing.kill(self._folders)

    async def empty(self) -> None:
        """Returns once there is no process in it."""
        pause = _FIRST_PAUSE
        while killing.populated(self._folders):
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def remove(self) -> bool:
        """Kills what is left and removes the cage; False if it withstood END_SECONDS."""
        return await trio.to_thread.run_sync(killing.end, self._folders)

    def processes(self) -> set[int]:
        """The ids of all in it, threads not among them."""
        return set[int]().union(*map(cgroupfs.processes, self.folders))

    def oom_kills(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        return self._oom().kills

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
        killing.end(folders)
        raise
    return ResourceGroup(version, folders, limits)


def _set(version: CgroupVersion, folders: Folders, limits: Limits) -> None:
    for setting in version.settings(limits):
        if setting.controller not in folders:
            continue
        file = folders[setting.controller] / setting.file
        if not setting.optional or file.exists():
            cgroupfs.write(file, setting.value)
