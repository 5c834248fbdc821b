"""How much of the machine a sandbox may take, as the API says it."""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

MB = 1024 * 1024

# Below these nothing starts. The upper ends only keep a number from overflowing in the kernel.
MemoryMb = Annotated[int, Meta(ge=64, le=2**24)]
CpuPercent = Annotated[int, Meta(ge=1, le=100_000)]
DiskMb = Annotated[int, Meta(ge=1, le=2**30)]
MaxProcesses = Annotated[int, Meta(ge=8, le=2**20)]


class Limits(Struct, frozen=True, kw_only=True, rename="camel"):
    """`cpu_percent` is of one CPU; `max_processes` counts threads too, as the kernel does.

    The CLI, its bridge and a tool make 15 threads, each MCP server that `npx` starts 19 more,
    each `node` 7 to 11: 64 would be gone with two servers and a build. The CLI begins at
    160 MB. docs/decisions/0008-limits.md has the measurements.
    """

    memory_mb: MemoryMb = 2048
    cpu_percent: CpuPercent = 100
    disk_mb: DiskMb = 1024
    max_processes: MaxProcesses = 256


class AskedLimits(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What an agent or a session asks for: `{memoryMb?, cpuPercent?, diskMb?, maxProcesses?}`.

    A name that is none of these is an error: a limit must not be dropped in silence.
    """

    memory_mb: MemoryMb | None = None
    cpu_percent: CpuPercent | None = None
    disk_mb: DiskMb | None = None
    max_processes: MaxProcesses | None = None


def cap(*asked: AskedLimits | None, most: Limits) -> Limits:
    """What `asked` comes to under the daemon's limits: later ones win, none exceeds `most`.

    What nobody asked for is `most`'s.
    """
    amounts = msgspec.structs.asdict(most)
    for one in filter(None, asked):
        given = msgspec.structs.asdict(one).items()
        amounts |= {name: amount for name, amount in given if amount is not None}
    highest = msgspec.structs.asdict(most)
    return Limits(**{name: min(amount, highest[name]) for name, amount in amounts.items()})
