"""Types of the values that callers give, with their bounds."""

from typing import Annotated, Any

from msgspec import Meta, Struct

# \Z, as $ also matches before a final line feed.
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
# The kernel ends a variable at a NUL: the program would take the rest for another one.
VALUE = r"^[^\0]*\Z"

# Bounds that no real agent meets. What has millions of members would take seconds to read.
FEW, MANY = 100, 1000
Names = Annotated[list[str], Meta(max_length=MANY)]

Env = Annotated[
    dict[Annotated[str, Meta(pattern=VARIABLE)], Annotated[str, Meta(pattern=VALUE)]],
    Meta(max_length=MANY),
]

# Below these nothing starts. The upper ends only keep a number from overflowing in the kernel.
MemoryMb = Annotated[int, Meta(ge=64, le=2**24)]
CpuPercent = Annotated[int, Meta(ge=1, le=100_000)]
DiskMb = Annotated[int, Meta(ge=1, le=2**30)]
MaxProcesses = Annotated[int, Meta(ge=8, le=2**20)]


# A header carries it, which has no control characters.
Key = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]+\Z",
        description="a text without control characters, and not empty",
    ),
]


def one_of(*words: str) -> Meta:
    """Like a Literal, but the error that refuses another word can list these."""
    return Meta(pattern=rf"^({'|'.join(words)})\Z")


class Body(Struct, rename="camel", kw_only=True):
    """A JSON object of the API. Fields that it does not name are ignored, but for typos."""


class McpServer(Body, omit_defaults=True):
    url: str | None = None
    type: Annotated[str, one_of("http", "sse", "stdio")] | None = None
    headers: Annotated[dict[str, str], Meta(max_length=FEW)] | None = None
    command: str | None = None
    args: Names | None = None
    env: Env | None = None


class Thinking(Body, omit_defaults=True):
    type: Annotated[str, one_of("adaptive", "enabled", "disabled")]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None


class OutputFormat(Body):
    type: Annotated[str, one_of("json_schema")]
    schema: dict[str, Any]


class AskedLimits(
    Struct,
    frozen=True,
    kw_only=True,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What an agent or a session asks for: `{memoryMb?, cpuPercent?, diskMb?, maxProcesses?}`.

    An unknown name is an error: a limit must not be dropped in silence.
    """

    memory_mb: MemoryMb | None = None
    cpu_percent: CpuPercent | None = None
    disk_mb: DiskMb | None = None
    max_processes: MaxProcesses | None = None
