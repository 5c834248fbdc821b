"""How much of the machine a sandbox may take, in the API's units."""

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
    """`cpu_percent` is of one CPU. `max_processes` counts threads as well, as the kernel does.

    The CLI, its bridge and a tool have 15 threads. Each MCP server that `npx` starts has 19, each
    `node` 7 to 11, so that two servers and a build would reach 64. The CLI takes 160 MB from the
    start. docs/decisions/0008-limits.md has the measurements.
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
    """The limits that result from `asked`: the later ones win, and none exceeds `most`.

    An amount that nobody asked for is that of `most`.
    """
    amounts = msgspec.structs.asdict(most)
    for one in filter(None, asked):
        given = msgspec.structs.asdict(one).items()
        amounts |= {name: amount for name, amount in given if amount is not None}
    highest = msgspec.structs.asdict(most)
    return Limits(**{name: min(amount, highest[name]) for name, amount in amounts.items()})
