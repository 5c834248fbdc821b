"""The two versions of cgroups: their files for the same limits and counters."""

from pathlib import Path
from typing import Protocol

from msgspec import Struct

from ash.limits import cgroupfs
from ash.limits.amounts import MB, Limits
from ash.limits.cgroupfs import Controller

# Linux's default, in µs. A shorter period costs more switches, a longer one makes pauses felt.
_CPU_PERIOD = 100_000

# The kernel allocates up to this much at a time, so a group is full when less than this is free.
_HUGE_PAGE = 2 * MB

# Version 1 does not count the buffers of sockets as memory, so they have a limit of their own. All
# traffic of a sandbox is local, and needs little.
_SOCKETS_SHARE, _SOCKETS_MOST = 4, 64 * MB


class ControllerSetting(Struct, frozen=True):
    """A value for a controller's file. If it is `optional`, the kernel may not have the file."""

    controller: Controller
    file: str
    value: str
    optional: bool = False


class OomCounts(Struct, frozen=True):
    """How often a process was killed for lack of memory, and how often the group itself was full.

    Kills without that mean that the machine was full, or a group above this one.
    """

    kills: int
    full: int


class CgroupVersion(Protocol):
    name: str
    swap_file: str

    def settings(self, limits: Limits) -> list[ControllerSetting]: ...
    def oom(self, memory: Path) -> OomCounts: ...


class V1:
    """When memory is full, the kernel kills the largest process and not the whole group."""

    name = "cgroup v1"
    swap_file = "memory.memsw.limit_in_bytes"

    def settings(self, limits: Limits) -> list[ControllerSetting]:
        memory = str(limits.memory_mb * MB)
        return [
            ControllerSetting("memory", "memory.limit_in_bytes", memory),
            # The sum of memory and swap, so there is no swap. It can't be less than the above.
            ControllerSetting("memory", self.swap_file, memory, optional=True),
            # Once there is a limit, the kernel counts UDP here too.
            ControllerSetting(
                "memory", "memory.kmem.tcp.limit_in_bytes", _socket_buffers(limits), optional=True
            ),
            ControllerSetting("pids", "pids.max", str(limits.max_processes)),
            ControllerSetting("cpu", "cpu.cfs_period_us", str(_CPU_PERIOD)),
            ControllerSetting("cpu", "cpu.cfs_quota_us", str(_quota(limits))),
        ]

    def oom(self, memory: Path) -> OomCounts:
        """Newer kernels no longer count in `memory.failcnt`, so the highest use is compared."""
        kills = cgroupfs.counter(memory / "memory.oom_control", "oom_kill")
        limit = cgroupfs.number(memory / "memory.limit_in_bytes")
        most = cgroupfs.number(memory / "memory.max_usage_in_bytes")
        return OomCounts(kills, kills if most + _HUGE_PAGE >= limit else 0)


class V2:
    """As in version 1, one process is killed: `memory.oom.group` stays 0.

    So a tool that takes too much dies, and its session goes on.
    """

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


def _socket_buffers(limits: Limits) -> str:
    return str(min(limits.memory_mb * MB // _SOCKETS_SHARE, _SOCKETS_MOST))


def _quota(limits: Limits) -> int:
    return limits.cpu_percent * _CPU_PERIOD // 100
