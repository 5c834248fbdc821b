"""What the two versions of cgroups call the same things."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from ash.limits import cgroupfs
from ash.limits.amounts import MB, Limits
from ash.limits.cgroupfs import Controller

# Linux's default, in µs. Shorter ones cost more switches, longer ones stutter.
_CPU_PERIOD = 100_000

# The largest piece that the kernel may have asked for when there was no more room.
_HUGE_PAGE = 2 * MB


class ControllerSetting(Struct, frozen=True):
    """A value for a file of a part. What is `optional` may be missing in the kernel."""

    controller: Controller
    file: str
    value: str
    optional: bool = False


class OomCounts(Struct, frozen=True):
    """How often a process was killed for memory, and how often the cage itself had been full.

    Kills alone mean that the machine, or what the daemon itself may take, was full.
    """

    kills: int
    full: int


class CgroupVersion(Protocol):
    name: str
    swap_file: str

    def settings(self, limits: Limits) -> list[ControllerSetting]: ...
    def oom(self, memory: Path) -> OomCounts: ...


class V1:
    """The kernel ends the largest process when memory is full, not the whole group."""

    name = "cgroup v1"
    swap_file = "memory.memsw.limit_in_bytes"

    def settings(self, limits: Limits) -> list[ControllerSetting]:
        memory = str(limits.memory_mb * MB)
        return [
            ControllerSetting("memory", "memory.limit_in_bytes", memory),
            # Memory and swap together: no swap. It can't be set below the one above.
            ControllerSetting("memory", self.swap_file, memory, optional=True),
            ControllerSetting("pids", "pids.max", str(limits.max_processes)),
            ControllerSetting("cpu", "cpu.cfs_period_us", str(_CPU_PERIOD)),
            ControllerSetting("cpu", "cpu.cfs_quota_us", str(_quota(limits))),
        ]

    def oom(self, memory: Path) -> OomCounts:
        """Newer kernels no longer count in `memory.failcnt`: the highest use tells instead."""
        kills = cgroupfs.counter(memory / "memory.oom_control", "oom_kill")
        limit = cgroupfs.number(memory / "memory.limit_in_bytes")
        most = cgroupfs.number(memory / "memory.max_usage_in_bytes")
        return OomCounts(kills, kills if most + _HUGE_PAGE >= limit else 0)


class V2:
    """As above: `memory.oom.group` stays 0, so that a tool dies and its session goes on."""

    name = "cgroup v2"
    swap_file = "memory.swap.max"

    def settings(self, limits: Limits) -> list[ControllerSetting]:
        return [
            ControllerSetting("memory", "memory.max", str(limits.memory_mb * MB)),
            ControllerSetting("memory", self.swap_file, "0", optional=True),
            ControllerSetting("pids", "pids.max", str(limits.max_processes)),
            ControllerSetting("cpu", "cpu.max", f"{_quota(limits)} {_CPU_PERIOD}"),
        ]

    def oom(self, memory: Path) -> OomCounts:
        events = memory / "memory.events"
        return OomCounts(cgroupfs.counter(events, "oom_kill"), cgroupfs.counter(events, "oom"))


def _quota(limits: Limits) -> int:
    return limits.cpu_percent * _CPU_PERIOD // 100
