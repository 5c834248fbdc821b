"""How much of the machine a sandbox may take, in the API's units."""

import msgspec
from msgspec import Struct

from ash.shapes import AskedLimits, CpuPercent, DiskMb, MaxProcesses, MemoryMb

MB = 1024 * 1024


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
