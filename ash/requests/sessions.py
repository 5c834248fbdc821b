from collections.abc import Iterable
from typing import Annotated, Any

from msgspec import Meta

from ash.errors import BadRequest
from ash.protocol import Exec
from ash.requests.file_modes import Mode, file_mode
from ash.requests.parsing import Get, choice
from ash.requests.tool_rules import check_tool_rules
from ash.session_options import SessionOptions, given, with_options
from ash.sessions.files import Upload
from ash.sessions.session_entry import WhenBusy
from ash.sessions.session_spec import NewSession
from ash.shapes import Body

_FORK_WAITS: tuple[WhenBusy, ...] = ("queue", "interrupt")

# Linux takes 128 KiB as one argument (MAX_ARG_STRLEN), with the NUL at its end.
MAX_COMMAND = 128 * 1024 - 1


@with_options("create")
class CreateSession(Body):
    agent: Annotated[str, Meta(min_length=1, max_length=255)]


@with_options("configure")
class ConfigureSession(Body):
    """Null gives an option back to the agent. An option that is left out stays as it is."""


class ForkSession(Body):
    after_sequence: Annotated[int, Meta(ge=0)] | None = None


class RunCommand(Body):
    """`timeout` is in milliseconds."""

    command: Annotated[str, Meta(min_length=1)]
    timeout: Annotated[int, Meta(ge=1, le=300_000)] = 30_000


def new_session(wanted: CreateSession) -> tuple[NewSession, list[str]]:
    """The session that is asked for, and a warning for each option that may have no effect.

    Raises BadRequest for options that no session can have.
    """
    values = given(wanted, "create")
    warnings = check_tool_rules(values)
    # Forms of existing clients send their empty fields, too.
    prompt = values.get("system_prompt")
    if prompt is not None and not prompt.strip():
        del values["system_prompt"]
        warnings.append("systemPrompt: it is empty, so the agent's own prompt holds")
    options = SessionOptions(**values)
    _check_prompt(options.system_prompt)
    for name, server in (options.mcp_servers or {}).items():
        if ("url" in server) == ("command" in server):
            raise BadRequest(f"mcpServers.{name}: give exactly one of url and command")
    return NewSession(agent=wanted.agent, options=options), warnings


def _check_prompt(prompt: str | None) -> None:
    if prompt is not None and "\0" in prompt:
        raise BadRequest("systemPrompt: a NUL can't be part of a prompt")


def changed_options(wanted: ConfigureSession) -> tuple[dict[str, Any], list[str]]:
    """The options that change, and warnings as `new_session` has them. Raises BadRequest."""
    changes = given(wanted, "configure")
    return changes, check_tool_rules(changes)


def fork_when_busy(get: Get) -> WhenBusy:
    """What a fork does if the parent's turn runs. Raises BadRequest."""
    return choice(get, "whenBusy", _FORK_WAITS) or "refuse"


def keeps_files(get: Get) -> bool:
    """Whether the files of a session that ends can be read on. Raises BadRequest."""
    return choice(get, "keepFiles", ("true", "false")) != "false"


def shell_command(wanted: RunCommand) -> Exec:
    """Raises BadRequest for a command that can't be an argument of a shell."""
    if "\0" in wanted.command:
        raise BadRequest("command: a NUL can't be part of a command")
    if (size := len(wanted.command.encode())) > MAX_COMMAND:
        raise BadRequest(f"command: up to {MAX_COMMAND} bytes are allowed, not {size}")
    return Exec(command=wanted.command, timeout=wanted.timeout)


class UploadedFile(Body):
    path: Annotated[str, Meta(min_length=1)]
    content: str
    mime_type: str | None = None
    mode: Mode | None = None
    executable: bool | None = None

    def upload(self, size: int, content: Iterable[bytes]) -> Upload:
        """The upload of that content. Raises BadRequest."""
        mode = file_mode(self.path, self.mode, executable=self.executable)
        return Upload(self.path, size, content, mode)


class UploadFiles(Body):
    files: Annotated[list[UploadedFile], Meta(min_length=1, max_length=500)]
    target_path: str = ""
