"""The bodies that clients send. What is not named here is ignored."""

import base64
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType, field

from ash.agents import AgentConfig
from ash.errors import BadRequest
from ash.protocol import with_whole_characters
from ash.sandbox.egress import parse as parse_network
from ash.sandbox.limits import AskedLimits

T = TypeVar("T")

# \Z, as $ lets a line feed follow.
AGENT_NAME = r"^[a-zA-Z0-9_-]+\Z"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*\Z"
# A NUL would end the variable, and begin what the program that takes it reads next.
VALUE = r"^[^\0]*\Z"
MAX_CONTENT = 500_000
MAX_BLOCKS = 20
# What Linux takes as one argument, MAX_ARG_STRLEN, has 128 KiB and a NUL.
MAX_COMMAND = 128 * 1024 - 1

Env = dict[Annotated[str, Meta(pattern=VARIABLE)], Annotated[str, Meta(pattern=VALUE)]]


def _one_of(*words: str) -> Meta:
    """As a Literal, but its error tells the words."""
    return Meta(pattern=rf"^({'|'.join(words)})\Z")


class _Body(Struct, rename="camel", kw_only=True):
    pass


class File(_Body):
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    content: str

    def data(self) -> bytes:
        try:
            return base64.b64decode(self.content, validate=True)
        except ValueError:
            raise BadRequest(f'files: the content of "{self.path}" is not base64') from None


class DeployAgent(_Body):
    name: Annotated[str, Meta(pattern=AGENT_NAME, max_length=255)]
    path: Annotated[str, Meta(min_length=1)] | None = None
    files: Annotated[list[File], Meta(min_length=1)] | None = None
    system_prompt: Annotated[str, Meta(min_length=1)] | None = None
    env: Env | None = None
    config: dict[str, Any] | None = None


class McpServer(_Body, omit_defaults=True):
    url: str | None = None
    type: Annotated[str, _one_of("http", "sse", "stdio")] | None = None
    headers: dict[str, str] | None = None
    command: str | None = None
    args: list[str] | None = None
    env: Env | None = None


class CreateSession(_Body):
    agent: Annotated[str, Meta(min_length=1)]
    model: str | None = None
    system_prompt: str | None = None
    mcp_servers: dict[str, McpServer] | None = None
    permission_mode: (
        Annotated[str, _one_of("bypassPermissions", "permissionsByAgent", "default")] | None
    ) = None
    extra_env: Env = field(default_factory=dict)
    allowed_tools: list[str] | None = None
    disallowed_tools: list[str] | None = None
    betas: list[str] | None = None
    subagents: dict[str, Any] | None = None
    initial_agent: str | None = None
    limits: AskedLimits | None = None


class RunCommand(_Body):
    """`timeout` is in milliseconds."""

    command: Annotated[str, Meta(min_length=1)]
    timeout: Annotated[int, Meta(ge=1, le=300_000)] = 30_000


class ConfigureSession(_Body):
    """Null takes a setting back to the agent's; what is left out stays."""

    model: str | UnsetType | None = UNSET
    allowed_tools: list[str] | UnsetType | None = UNSET
    disallowed_tools: list[str] | UnsetType | None = UNSET
    betas: list[str] | UnsetType | None = UNSET
    subagents: dict[str, Any] | UnsetType | None = UNSET
    initial_agent: str | UnsetType | None = UNSET


class ForkSession(_Body):
    after_sequence: Annotated[int, Meta(ge=0)] | None = None


class Thinking(_Body, omit_defaults=True):
    type: Annotated[str, _one_of("adaptive", "enabled", "disabled")]
    budget_tokens: Annotated[int, Meta(ge=1)] | None = None


class OutputFormat(_Body):
    type: Annotated[str, _one_of("json_schema")]
    schema: dict[str, Any]


class SendMessage(_Body):
    """`content` is a string or a list of content blocks, kept as it was written."""

    content: Raw
    include_partial_messages: bool = False
    model: str | None = None
    max_turns: Annotated[int, Meta(ge=1)] | None = None
    max_budget_usd: Annotated[float, Meta(gt=0)] | None = None
    effort: Annotated[str, _one_of("low", "medium", "high", "max")] | None = None
    thinking: Thinking | None = None
    output_format: OutputFormat | None = None


class _Block(Struct):
    type: Annotated[str, _one_of("text", "image", "document")]


_text = msgspec.json.Decoder(str)
_blocks = msgspec.json.Decoder(list[_Block])


def decode(body: bytes | bytearray, shape: msgspec.json.Decoder[T]) -> T:
    """The body as that shape; none at all is `{}`. Raises BadRequest, naming the field."""
    try:
        return shape.decode(body or b"{}")
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mended = with_whole_characters(bytes(body))
        if mended != body:
            return decode(mended, shape)
        raise BadRequest(f"The body is not valid JSON: {error}") from None
    except RecursionError:
        raise BadRequest("The body is nested too deeply") from None


def explain(error: msgspec.ValidationError, prefix: str = "") -> str:
    """Puts the field's name before the rule that it broke."""
    rule, _, place = str(error).replace(r"\\Z", "$").partition(" - at `")
    path = (prefix + place.removeprefix("key` in `").removeprefix("$").rstrip("`")).lstrip(".")
    if missing := re.search(r"missing required field `(\w+)`", rule):
        return f"{path}.{missing[1]}".lstrip(".") + ": this field is required"
    if words := re.search(r"matching regex '\^\(([\w|]+)\)\$", rule):
        return f"{path}: expected one of {words[1].replace('|', ', ')}"
    return f"{path or 'body'}: {rule[0].lower()}{rule[1:]}".replace("`", '"')


def check_config(config: dict[str, Any] | None) -> None:
    """Raises BadRequest for what the daemon itself would make of an agent's config."""
    try:
        parse_network(msgspec.convert(config or {}, AgentConfig).network)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, "config")) from None
    except ValueError as error:
        raise BadRequest(f"config.network: {error}") from None


def check_command(command: str) -> str:
    """Raises BadRequest for what can't be handed to a shell."""
    if "\0" in command:
        raise BadRequest("command: a NUL can't be part of a command")
    if (size := len(command.encode())) > MAX_COMMAND:
        raise BadRequest(f"command: up to {MAX_COMMAND} bytes are allowed, not {size}")
    return command


def check_content(content: Raw) -> Raw:
    """The content on one line. Raises BadRequest if it is not what a message may hold."""
    data = bytes(content)
    try:
        str(data, "utf-8")
        if data.startswith(b"["):
            count = len(_blocks.decode(data))
            if not 1 <= count <= MAX_BLOCKS:
                raise BadRequest(f"content: 1 to {MAX_BLOCKS} blocks are allowed, not {count}")
        elif len(text := _text.decode(data)) > MAX_CONTENT:
            raise BadRequest(
                f"content: a string of up to {MAX_CONTENT} characters is allowed, not {len(text)}"
            )
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error, "content")) from None
    except UnicodeDecodeError:
        raise BadRequest("content: this is not UTF-8") from None
    # The bridge reads lines. In JSON a line feed stands only between tokens, as a blank does.
    return content if b"\n" not in data else Raw(data.replace(b"\n", b" "))
