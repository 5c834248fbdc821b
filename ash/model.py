"""The data that the store keeps and the API shows: agents, sessions, messages and so on.

A field that the API promises is always present, and null if empty; an UNSET field is left out.
Times are ISO 8601 in UTC with milliseconds and `Z`.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType, field

from ash.session_options import SessionOptions

SessionStatus = Literal["starting", "active", "paused", "stopped", "ended", "error"]
Role = Literal["user", "assistant"]
LogLevel = Literal["stdout", "stderr", "system"]
LogSink = Callable[[Sequence[tuple[LogLevel, str]]], Awaitable[None]]
TurnReason = Literal["completed", "interrupted", "stopped", "error", "shutdown", "lost", "budget"]
# What has begun a turn, if no message has: a task in the background that has ended.
TurnOrigin = Literal["task"]
EventType = Literal[
    "text",
    "tool_start",
    "tool_result",
    "reasoning",
    "error",
    "turn_complete",
    "lifecycle",
    "mcp_status",
]

DEFAULT_TENANT = "default"
MASK = "***"


def iso(timestamp: float) -> str:
    """A Unix time in seconds, in the API's form."""
    moment = datetime.fromtimestamp(timestamp, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


class Agent(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A deployed agent as clients see it; the values of `env` are masked.

    `warnings` is what a deploy has to say about the folder; only the deploy's own answer has it.
    """

    id: str
    name: str
    tenant_id: str
    version: int
    path: str
    created_at: str
    updated_at: str
    slug: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    config: dict[str, Any] | UnsetType = UNSET
    env: dict[str, str] | UnsetType = UNSET
    warnings: list[str] = field(default_factory=list)


Severity = Literal["error", "warning"]


class Finding(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One fault of an agent's folder. `line` and `column` begin at 1.

    An `error` means that the agent would run without something that it relies on, such as a guard.
    """

    severity: Severity
    path: str
    line: int | None = None
    column: int | None = None
    message: str

    @classmethod
    def of_warning(cls, text: str) -> "Finding":
        """The warning of a deploy, which has the form `path: what and why`."""
        path, _, message = text.partition(": ")
        return cls(severity="warning", path=path, message=message)

    def __str__(self) -> str:
        place = "" if self.line is None else f":{self.line}:{self.column}"
        return f"{self.path}{place}: {self.message}"


class FolderCheck(Struct, frozen=True):
    """The answer of a check that deploys nothing. `ok`: a deploy would accept the folder."""

    ok: bool
    findings: list[Finding]

    def with_warnings(self, warnings: Sequence[str], *, strict: bool) -> "FolderCheck":
        """With what else a deploy says, each of the form `path: what and why`."""
        findings = dict.fromkeys([*self.findings, *map(Finding.of_warning, warnings)])
        return FolderCheck(self.ok and not (strict and findings), list(findings))


class StoredAgent(Struct, kw_only=True):
    """An agent with its private data: `source`, the folder with its files, and the real `env`."""

    agent: Agent
    source: str
    env: dict[str, str] = field(default_factory=dict)


class Session(Struct, kw_only=True, rename="camel"):
    """`memory` and `warnings` are in the answer of a resume that found something broken."""

    id: str
    tenant_id: str
    agent_name: str
    sandbox_id: str
    status: SessionStatus
    created_at: str
    last_active_at: str
    runner_id: str | None = None
    parent_session_id: str | None = None
    model: str | None = None
    config: dict[str, Any] | None = None
    agent_version: int | None = None
    memory: Literal["lost", "partial"] | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET

    @property
    def names(self) -> dict[str, str]:
        """The fields by which a line of the log says which session it is about."""
        return {"session": self.id, "agent": self.agent_name, "tenant": self.tenant_id}


class SessionSettings(SessionOptions):
    """The options that a session was created with and the API does not show.

    Every start of its engine needs them again. A fork also has the conversations that it may
    continue, as `ash.protocol.Branch`.
    """

    fork: list[dict[str, Any]] | None = None


class StoredSession(Struct, kw_only=True):
    """A session with its private data.

    It was made from the version of its agent whose files are in `agent_source`, None if that is
    not known. `owner` may write while `generation` is that of the row. Frame ids from `next_frame`
    on have not been given out yet. `conversation` is the id of the engine's conversation, None
    before its first turn.
    """

    session: Session
    settings: SessionSettings
    agent_version: int
    owner: str
    agent_source: str | None = None
    generation: int = 1
    next_frame: int = 1
    conversation: str | None = None


class Message(Struct, kw_only=True, rename="camel"):
    id: str
    session_id: str
    tenant_id: str
    role: Role
    content: str
    sequence: int
    created_at: str


class SessionEvent(Struct, kw_only=True, rename="camel"):
    id: str
    session_id: str
    tenant_id: str
    type: EventType
    data: str | None
    sequence: int
    created_at: str


class LogLine(Struct, kw_only=True, rename="camel"):
    index: int
    level: LogLevel
    text: str
    ts: str


class FileEntry(Struct, kw_only=True, rename="camel"):
    """A file of a workspace: `path` is relative to it, `size` is in bytes."""

    path: str
    size: int
    modified_at: str


class ApiKey(Struct, kw_only=True, rename="camel"):
    """An API key without the key itself, of which only `key_prefix` is stored."""

    id: str
    tenant_id: str
    label: str | None
    key_prefix: str
    created_at: str


class PoolStats(Struct, kw_only=True, rename="camel"):
    max_capacity: int
    total: int = 0
    cold: int = 0
    warming: int = 0
    warm: int = 0
    waiting: int = 0
    running: int = 0
    resume_warm_hits: int = 0
    resume_cold_hits: int = 0
    resume_cold_local_hits: int = 0
    resume_cold_cloud_hits: int = 0
    resume_cold_fresh_hits: int = 0
    pre_warm_hits: int = 0
