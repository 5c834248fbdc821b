from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType, field

from ash.errors import BadRequest
from ash.limits import AskedLimits
from ash.protocol import Exec
from ash.requests.parsing import Body, Env, Get, choice, one_of
from ash.sessions.live_session import WhenBusy
from ash.sessions.session_spec import CONFIG, NewSession

_FORK_WAITS: tuple[WhenBusy, ...] = ("queue", "interrupt")

# What Linux takes as one argument, MAX_ARG_STRLEN, has 128 KiB and a NUL.
MAX_COMMAND = 128 * 1024 - 1


class McpServer(Body, omit_defaults=True):
    url: str | None = None
    type: Annotated[str, one_of("http", "sse", "stdio")] | None = None
    headers: dict[str, str] | None = None
    command: str | None = None
    args: list[str] | None = None
    env: Env | None = None


class CreateSession(Body):
    agent: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    system_prompt: str | None = None
    mcp_servers: dict[str, McpServer] | None = None
    permission_mode: (
        Annotated[str, one_of("bypassPermissions", "permissionsByAgent", "default")] | None
    ) = None
    extra_env: Env = field(default_factory=dict)
    allowed_tools: list[str] | None = None
    disallowed_tools: list[str] | None = None
    betas: list[str] | None = None
    subagents: dict[str, Any] | None = None
    initial_agent: str | None = None
    limits: AskedLimits | None = None


class ConfigureSession(Body):
    """Null takes a setting back to the agent's; what is left out stays."""

    model: str | UnsetType | None = UNSET
    allowed_tools: list[str] | UnsetType | None = UNSET
    disallowed_tools: list[str] | UnsetType | None = UNSET
    betas: list[str] | UnsetType | None = UNSET
    subagents: dict[str, Any] | UnsetType | None = UNSET
    initial_agent: str | UnsetType | None = UNSET


class ForkSession(Body):
    after_sequence: Annotated[int, Meta(ge=0)] | None = None


class RunCommand(Body):
    """`timeout` is in milliseconds."""

    command: Annotated[str, Meta(min_length=1)]
    timeout: Annotated[int, Meta(ge=1, le=300_000)] = 30_000


def new_session(wanted: CreateSession) -> NewSession:
    """Raises BadRequest for a server that is neither here nor there."""
    config = {key: value for name, key in CONFIG.items() if (value := getattr(wanted, name))}
    return NewSession(
        agent=wanted.agent,
        model=wanted.model,
        system_prompt=wanted.system_prompt,
        mcp_servers=_mcp_servers(wanted.mcp_servers),
        permission_mode=wanted.permission_mode,
        extra_env=wanted.extra_env,
        limits=wanted.limits,
        config=config,
    )


def new_config(wanted: ConfigureSession) -> dict[str, Any]:
    """What is given of a session's config, by the API's names."""
    given = {key: getattr(wanted, name) for name, key in CONFIG.items()}
    return {key: value for key, value in given.items() if value is not UNSET}


def fork_when_busy(get: Get) -> WhenBusy:
    """What is done about a turn of the parent. Raises BadRequest."""
    return choice(get, "whenBusy", _FORK_WAITS) or "refuse"


def shell_command(wanted: RunCommand) -> Exec:
    """Raises BadRequest for what can't be handed to a shell."""
    if "\0" in wanted.command:
        raise BadRequest("command: a NUL can't be part of a command")
    if (size := len(wanted.command.encode())) > MAX_COMMAND:
        raise BadRequest(f"command: up to {MAX_COMMAND} bytes are allowed, not {size}")
    return Exec(command=wanted.command, timeout=wanted.timeout)


def _mcp_servers(servers: dict[str, McpServer] | None) -> dict[str, object] | None:
    for name, server in (servers or {}).items():
        if (server.url is None) == (server.command is None):
            raise BadRequest(f"mcpServers.{name}: give exactly one of url and command")
    return None if servers is None else msgspec.to_builtins(servers)


class UploadedFile(Body):
    path: Annotated[str, Meta(min_length=1)]
    content: str
    mime_type: str | None = None


class UploadFiles(Body):
    files: Annotated[list[UploadedFile], Meta(min_length=1, max_length=500)]
    target_path: str = ""
