"""The messages between daemon and bridge: one JSON object a line over a Unix socket.

Adding a field or a message is fine. Renaming one breaks the bridges of older images. A reader
ignores fields that it does not know.
"""

import re
from typing import Any, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import Raw, Struct, field

from ash.session_options import EngineOptions

# A line of an engine carries one message, of 32 MiB at most: the model's API takes no more.
MAX_LINE = 33 * 1024 * 1024
# A command carries the body of a request, of 50 MB at most.
MAX_COMMAND_LINE = 51 * 1024 * 1024


class _WithOptions(EngineOptions, kw_only=True):
    """A command that carries options of the session."""

    # The bridge's name for it is older than the API's.
    extra_env: dict[str, str] = field(default_factory=dict, name="env")


class Open(_WithOptions, tag_field="cmd", tag="open"):
    """Boots the engine for a new conversation, before the first query. Answer: `opened`.

    With `preset` the system prompt is the CLI's own, and CLAUDE.md a memory beside it. Without it,
    CLAUDE.md is the system prompt. A `system_prompt` replaces either.
    """

    session_id: str
    id: str = ""
    preset: bool = False


class Branch(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A conversation that another one continues.

    The new one takes over its messages up to the one with the uuid `at`. None takes over all.
    """

    session_id: str
    at: str | None = None


class Resume(_WithOptions, tag_field="cmd", tag="resume"):
    """Boots the engine on an existing conversation. Answer: `opened`.

    `conversation` is its id; None means the session's own. `last` is the uuid of the last message
    of the agent that is known of it; `began` says that there was something, whether it is known or
    not. If the conversation does not exist yet, it begins as a copy
    of the first one in `fork` that does. `preset` is that of `Open`.
    """

    session_id: str
    id: str = ""
    conversation: str | None = None
    last: str | None = None
    began: bool = False
    preset: bool = False
    fork: list[Branch] | None = None


class Query(_WithOptions, kw_only=True, tag_field="cmd", tag="query"):
    """One turn. Answers: `message` …, then `done`; an `error` may come before the `done`.

    `prompt` is a JSON string or a list of content blocks. An option that only turns have holds
    for this turn alone. Any other that is None stays as the conversation was opened with, and
    those of the session's creation are not read.

    With `yields` the first answer is `taken`, when the engine has taken the prompt. If the engine
    has begun a turn by itself before that, the only answer is `refused`, and the prompt has no
    effect.
    """

    prompt: Raw
    session_id: str
    id: str = ""
    yields: bool = False


class Interrupt(Struct, rename="camel", tag_field="cmd", tag="interrupt"):
    """Ends the turn of the query with the id `turn`; its `done` follows.

    Without `turn` the running one is meant. If that turn is over, nothing happens; the answer is
    an `error` if the command has an id.
    """

    id: str = ""
    turn: str = ""


class Exec(Struct, kw_only=True, rename="camel", tag_field="cmd", tag="exec"):
    """Runs a shell command beside the turn. `timeout` is in milliseconds."""

    command: str
    id: str = ""
    timeout: int = 30_000


class Shutdown(Struct, rename="camel", tag_field="cmd", tag="shutdown"):
    """Closes the engine; then the bridge exits."""

    id: str = ""


class History(Struct, kw_only=True, rename="camel", tag_field="cmd", tag="history"):
    """Answers `history_wanted`: the SDK messages that are stored of the conversation, in order."""

    messages: list[Raw]
    id: str = ""


BridgeCommand: TypeAlias = Open | Resume | Query | Interrupt | Exec | Shutdown | History


class Ready(Struct, rename="camel", tag_field="ev", tag="ready"):
    """The bridge takes commands. It has not started the engine yet."""

    pid: int = 0


class Opened(Struct, rename="camel", tag_field="ev", tag="opened"):
    id: str = ""


class EngineMessage(Struct, rename="camel", tag_field="ev", tag="message"):
    """One SDK message, byte for byte as the CLI wrote it."""

    data: Raw


class Failed(Struct, rename="camel", tag_field="ev", tag="error"):
    """The command `id` failed, and why. For a query, `done` follows."""

    error: str
    id: str = ""


class TurnDone(Struct, rename="camel", tag_field="ev", tag="done"):
    session_id: str
    id: str = ""


class PromptTaken(Struct, rename="camel", tag_field="ev", tag="taken"):
    """The engine has taken the prompt of the query `id`, which `yields`."""

    id: str = ""


class PromptRefused(Struct, rename="camel", tag_field="ev", tag="refused"):
    """The engine has begun a turn by itself, so the query `id`, which `yields`, is not done."""

    id: str = ""


class OwnTurn(Struct, rename="camel", tag_field="ev", tag="own_turn"):
    """The engine has begun a turn by itself: a task in the background has ended.

    Messages and a `done` with the same id follow, before those of any query.
    """

    session_id: str
    id: str = ""


class BackgroundTasks(Struct, rename="camel", tag_field="ev", tag="tasks"):
    """Commands and agents that now run in the background, as the engine describes them."""

    tasks: list[str]


class McpServerState(Struct, frozen=True, omit_defaults=True):
    """`status` is the CLI's word: connected, pending, failed, needs-auth or disabled."""

    name: str
    status: str
    error: str | None = None


class McpStatus(Struct, rename="camel", tag_field="ev", tag="mcp_status"):
    """How all MCP servers of the conversation are, during a turn: first, and at each change."""

    servers: list[McpServerState]


class EngineExited(Struct, rename="camel", tag_field="ev", tag="gone"):
    """The engine died between two turns. The next turn starts it again."""

    error: str


class HistoryWanted(Struct, rename="camel", tag_field="ev", tag="history_wanted"):
    """The conversation's transcript can't be used. Answer: `history`."""

    id: str = ""


class Recovered(Struct, rename="camel", tag_field="ev", tag="recovered", omit_defaults=True):
    """Something was broken, and the engine goes on without it; `text` says what.

    `memory` says what that has cost the conversation, if anything.
    """

    text: str
    memory: Literal["lost", "partial"] | None = None


class ExecResult(Struct, kw_only=True, rename="camel", tag_field="ev", tag="exec_result"):
    exit_code: int
    stdout: str
    stderr: str
    id: str = ""
    timed_out: bool = False
    truncated: bool = False


class Log(Struct, rename="camel", tag_field="ev", tag="log"):
    """`level` is stdout, stderr or system; `ts` is Unix time in seconds."""

    level: str
    text: str
    ts: float = 0.0


BridgeEvent: TypeAlias = (
    Ready
    | Opened
    | PromptTaken
    | PromptRefused
    | OwnTurn
    | BackgroundTasks
    | EngineMessage
    | McpStatus
    | Failed
    | TurnDone
    | EngineExited
    | HistoryWanted
    | Recovered
    | ExecResult
    | Log
)

_command_decoder: msgspec.json.Decoder[BridgeCommand] = msgspec.json.Decoder(BridgeCommand)
_event_decoder: msgspec.json.Decoder[BridgeEvent] = msgspec.json.Decoder(BridgeEvent)
_encoder = msgspec.json.Encoder()

_MESSAGE_HEAD = b'{"ev":"message","data":'
# Half a character is a surrogate, escaped, without the other one of its pair.
_LOW = rb"\\u[dD][c-fC-F]\w\w"
_PAIR = rb"\\u[dD][89abAB]\w\w" + _LOW
# The look-arounds come after the literal text: before it they make the search ten times slower.
HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!%b)|[c-fC-F][0-9a-fA-F]{2}(?<!%b))" % (_LOW, _PAIR)
)


def is_uuid(value: object) -> bool:
    """Whether it is a UUID in its usual form, which is safe as a file's name."""
    try:
        return isinstance(value, str) and str(UUID(value)) == value
    except ValueError:
        return False


def decode_command(line: bytes | memoryview) -> BridgeCommand:
    """Raises msgspec.DecodeError; as ValidationError it says which field does not fit."""
    return _command_decoder.decode(line)


def decode_event(line: bytes | memoryview) -> BridgeEvent:
    """Raises msgspec.DecodeError or RecursionError. Raw fields are views of `line`."""
    try:
        return _event_decoder.decode(line)
    except msgspec.DecodeError:
        event = _event_decoder.decode(with_whole_characters(line))
        untouched = line[len(_MESSAGE_HEAD) : -len(b"}")]
        if isinstance(event, EngineMessage) and event.data == Raw(with_whole_characters(untouched)):
            return EngineMessage(Raw(untouched))
        return event


class _Subagents(Struct):
    spawned: int = 0
    completed: int = 0
    failed: int = 0
    killed: dict[str, int] = field(default_factory=dict)


def subagents_run(stats: Any) -> bool:
    """Whether subagents work in the background, by the `subagent_stats` of a `result`.

    The CLI counts them from its start on. It goes on with the turn until they have reported.
    """
    try:
        given = msgspec.json.decode(stats) if isinstance(stats, Raw) else stats
        counts = msgspec.convert(given, _Subagents)
    except ValueError:
        return False
    return counts.spawned > counts.completed + counts.failed + sum(counts.killed.values())


def with_whole_characters(data: bytes | memoryview) -> bytes:
    """The JSON with U+FFFD in the place of each half of a character.

    A JavaScript program that cuts a text in the middle of a character writes such halves as
    escapes. They are valid JSON, but msgspec refuses them.
    """
    text = bytes(data)
    if b"\0" in text:
        return text
    # An escaped backslash begins no escape. Hide it behind NULs, which JSON can't contain.
    hidden = text.replace(rb"\\", b"\0\0")
    return HALF.sub(rb"\\ufffd", hidden).replace(b"\0\0", rb"\\")


def encode(thing: BridgeCommand | BridgeEvent) -> bytes:
    """One line, with its line feed."""
    return bytes(encode_line(thing))


def encode_line(thing: BridgeCommand | BridgeEvent) -> bytearray:
    """The same without the last copy, which takes a while of 50 MB."""
    line = bytearray()
    _encoder.encode_into(thing, line)
    line += b"\n"
    return line


def message_line(raw: bytes | memoryview) -> bytes:
    """The same bytes as `encode(EngineMessage(Raw(raw)))`, without making the object."""
    return b"".join((_MESSAGE_HEAD, raw, b"}\n"))


def message_in(line: memoryview) -> memoryview | None:
    """The SDK message in a line as `message_line` makes it, without reading it; None if it is none.

    It may be no JSON.
    """
    if bytes(line[: len(_MESSAGE_HEAD)]) != _MESSAGE_HEAD or bytes(line[-1:]) != b"}":
        return None
    return line[len(_MESSAGE_HEAD) : -1]


class LineTooLong(ValueError):
    """A line is longer than the limit. `lines` are the complete lines of the same chunk."""

    def __init__(self, limit: int, lines: list[memoryview]) -> None:
        super().__init__(f"a line is longer than {limit} bytes")
        self.lines = lines


class Lines:
    """Splits a byte stream into lines, wherever its chunks are cut.

    Sans-IO: feed it each received chunk and get the lines that it completed, without line feeds
    and without blank lines. A line that lies within one chunk is a view of it, not a copy.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes | memoryview] = []
        self._pending = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> list[memoryview]:
        """Raises LineTooLong once for each line that is too long, and reads on after it."""
        lines: list[memoryview] = []
        view = memoryview(chunk)
        start, too_long = 0, False
        while (end := chunk.find(b"\n", start)) >= 0:
            too_long |= self._outgrows(view[start:end])
            if line := self._take():
                lines.append(line)
            start = end + 1
        if self._outgrows(view[start:]) or too_long:
            raise LineTooLong(self._limit, lines)
        return lines

    def _outgrows(self, part: memoryview) -> bool:
        """Keeps the part. True if that makes the line too long: then all of it is dropped."""
        if self._skipping:
            return False
        self._pending += len(part)
        if self._pending > self._limit:
            self._parts, self._pending, self._skipping = [], 0, True
        elif part:
            self._parts.append(part)
        return self._skipping

    def _take(self) -> memoryview | None:
        parts, self._parts, self._pending, self._skipping = self._parts, [], 0, False
        if not parts:
            return None
        return memoryview(parts[0] if len(parts) == 1 else b"".join(parts))
