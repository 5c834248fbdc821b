"""What daemon and bridge say to each other: one JSON object a line over a Unix socket.

Adding a field or a message is fine, renaming one breaks bridges in older images. Fields that
a reader does not know are ignored.
"""

import re
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw, Struct

# A line may carry a 50 MB request body as JSON string, escapes included.
MAX_LINE = 128 * 1024 * 1024


class EngineOptions(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """What an engine is started with. None means: as the agent or the engine has it."""

    model: str | None = None
    system_prompt: str | None = None
    mcp_servers: dict[str, Any] | None = None
    permission_mode: str | None = None
    allowed_tools: list[str] | None = None
    disallowed_tools: list[str] | None = None
    betas: list[str] | None = None
    subagents: dict[str, Any] | None = None
    initial_agent: str | None = None
    env: dict[str, str] | None = None


class Open(EngineOptions, tag_field="cmd", tag="open"):
    """Boots the engine for a new conversation, before the first query. Answer: `opened`."""

    session_id: str
    id: str = ""


class Branch(Struct, kw_only=True, rename="camel", omit_defaults=True):
    """A conversation to go on from.

    `at` is the uuid of the last message to take over and `prompts` how many prompts that is;
    None takes over all.
    """

    session_id: str
    at: str | None = None
    prompts: int | None = None


class Resume(EngineOptions, tag_field="cmd", tag="resume"):
    """Boots the engine on a conversation that exists. Answer: `opened`.

    One that does not yet begins as the first of `fork` that does.
    """

    session_id: str
    id: str = ""
    fork: list[Branch] | None = None


class Query(Struct, kw_only=True, rename="camel", omit_defaults=True, tag_field="cmd", tag="query"):
    """One turn. Answers: `message` …, then `done`; an `error` may come before the `done`.

    `prompt` is a JSON string or a list of content blocks. Settings that are None stay as the
    conversation was opened with. Budgets hold for this turn alone.
    """

    prompt: Raw
    session_id: str
    id: str = ""
    include_partial_messages: bool = False
    model: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    effort: str | None = None
    thinking: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    allowed_tools: list[str] | None = None
    disallowed_tools: list[str] | None = None
    betas: list[str] | None = None
    subagents: dict[str, Any] | None = None
    initial_agent: str | None = None
    trace_context: dict[str, str] | None = None


class Interrupt(Struct, rename="camel", tag_field="cmd", tag="interrupt"):
    """Ends the running turn; its `done` follows. Without a running turn nothing happens."""

    id: str = ""


class Exec(Struct, kw_only=True, rename="camel", tag_field="cmd", tag="exec"):
    """Runs a shell command beside the turn. `timeout` is in milliseconds."""

    command: str
    id: str = ""
    timeout: int = 30_000


class Shutdown(Struct, rename="camel", tag_field="cmd", tag="shutdown"):
    """Closes the engine; then the bridge exits."""

    id: str = ""


BridgeCommand: TypeAlias = Open | Resume | Query | Interrupt | Exec | Shutdown


class Ready(Struct, rename="camel", tag_field="ev", tag="ready"):
    """The bridge takes commands; the engine has not been started."""

    pid: int = 0


class Opened(Struct, rename="camel", tag_field="ev", tag="opened"):
    id: str = ""


class EngineMessage(Struct, rename="camel", tag_field="ev", tag="message"):
    """One SDK message, byte for byte as the CLI wrote it."""

    data: Raw


class Failed(Struct, rename="camel", tag_field="ev", tag="error"):
    """What went wrong with the request `id`; with the turn, if that is what `id` names."""

    error: str
    id: str = ""


class TurnDone(Struct, rename="camel", tag_field="ev", tag="done"):
    session_id: str
    id: str = ""


class EngineExited(Struct, rename="camel", tag_field="ev", tag="gone"):
    """The engine has died between two turns; the next one starts it again."""

    error: str


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
    Ready | Opened | EngineMessage | Failed | TurnDone | EngineExited | ExecResult | Log
)

_command_decoder: msgspec.json.Decoder[BridgeCommand] = msgspec.json.Decoder(BridgeCommand)
_event_decoder: msgspec.json.Decoder[BridgeEvent] = msgspec.json.Decoder(BridgeEvent)
_encoder = msgspec.json.Encoder()

_MESSAGE_HEAD = b'{"ev":"message","data":'
_LOW = rb"\\u[dD][c-fC-F]\w\w"
_PAIR = rb"\\u[dD][89abAB]\w\w" + _LOW
# It begins with what it looks for, or it would take ten times as long.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!%b)|[c-fC-F][0-9a-fA-F]{2}(?<!%b))" % (_LOW, _PAIR)
)


def decode_command(line: bytes | memoryview) -> BridgeCommand:
    """Raises msgspec.DecodeError, of which ValidationError tells what does not fit."""
    return _command_decoder.decode(line)


def decode_event(line: bytes | memoryview) -> BridgeEvent:
    """Raises msgspec.DecodeError, and RecursionError. Raw fields are views of `line`."""
    try:
        return _event_decoder.decode(line)
    except msgspec.DecodeError:
        event = _event_decoder.decode(with_whole_characters(line))
        untouched = line[len(_MESSAGE_HEAD) : -len(b"}")]
        if isinstance(event, EngineMessage) and event.data == Raw(with_whole_characters(untouched)):
            return EngineMessage(Raw(untouched))
        return event


def with_whole_characters(data: bytes | memoryview) -> bytes:
    """The JSON with U+FFFD for each half of a character.

    JavaScript writes such halves, as escapes, where a program has cut a text in the middle of
    a character. They are valid JSON, but msgspec takes them for broken.
    """
    text = bytes(data)
    if b"\0" in text:
        return text
    # A backslash that is itself escaped begins no escape: NUL, which JSON can't hold, stands in.
    hidden = text.replace(rb"\\", b"\0\0")
    return _HALF.sub(rb"\\ufffd", hidden).replace(b"\0\0", rb"\\")


def encode(thing: BridgeCommand | BridgeEvent) -> bytes:
    """The thing as one line, its line feed included."""
    line = bytearray()
    _encoder.encode_into(thing, line)
    line += b"\n"
    return bytes(line)


def message_line(raw: bytes | memoryview) -> bytes:
    """`encode(Message(Raw(raw)))` without taking the raw JSON into an object."""
    return b"".join((_MESSAGE_HEAD, raw, b"}\n"))


class LineTooLong(ValueError):
    """A line grew past the limit without an end; `lines` are the others that became complete."""

    def __init__(self, limit: int, lines: list[memoryview]) -> None:
        super().__init__(f"a line is longer than {limit} bytes")
        self.lines = lines


class Lines:
    """Splits a byte stream into lines, wherever its chunks are cut.

    Sans-IO: feed it what was received, get the lines that became complete, without their
    line feed, blank ones left out. A line inside one chunk is a view of it, not a copy.
    """

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._parts: list[bytes | memoryview] = []
        self._pending = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> list[memoryview]:
        """Raises LineTooLong once for such a line; the next one is read again."""
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

    @property
    def pending(self) -> int:
        """Bytes of the line that has not ended."""
        return self._pending

    def _outgrows(self, part: memoryview) -> bool:
        """Keeps the part; whether the line has just become too long. Then it is dropped."""
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
