"""Reads SDK messages: which frames clients get for one, and which events the timeline stores.

The message itself is passed on unchanged. Values taken out of it stay `msgspec.Raw`, the bytes
that the CLI wrote.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType, field

from ash.failure_words import failure_text, text_of
from ash.model import EventType, TurnOrigin, TurnReason
from ash.model_retry import Retry, read_retry
from ash.protocol import (
    McpServerState,
    Recovered,
    is_uuid,
    subagents_run,
    with_whole_characters,
)

NULL = Raw(b"null")
_encode = msgspec.json.encode


class Frame(Struct, frozen=True):
    """One server-sent event, without its id. `data` is one line of JSON."""

    event: str
    data: bytes | memoryview


class Ending(Struct, frozen=True):
    """How a `result` message ends its turn. `error` is None unless reason is `error`.

    After an `interim` one the turn goes on, as subagents have still to report.
    """

    reason: TurnReason
    error: str | None = None
    interim: bool = False


class Reading(Struct):
    """What follows from one SDK message. `frames` are in the order to send, the message last.

    A message that is not `durable` (a delta) is not stored, because the complete one follows.
    `conversation` is the id of the conversation, from the message that begins a turn. `abandoned`
    means that the deltas since the last complete message will come again; those of a subagent have
    its `parent`.
    """

    frames: list[Frame]
    timeline: list[tuple[EventType, str]]
    durable: bool
    ending: Ending | None = None
    conversation: str | None = None
    retry: Retry | None = None
    abandoned: bool = False
    parent: str | None = None


class _Delta(Struct):
    # UNSET, not None: msgspec treats a union of Raw and null as null.
    text: Raw | UnsetType = UNSET
    thinking: Raw | UnsetType = UNSET


class _StreamEvent(Struct):
    delta: _Delta | None = None


class _Block(Struct):
    type: str = ""
    id: Raw = NULL
    name: Raw = NULL
    input: Raw = NULL
    text: Raw = NULL
    thinking: Raw = NULL
    tool_use_id: Raw = NULL
    content: Raw = NULL
    is_error: bool | None = None


class _Body(Struct):
    content: list[_Block] | str = ""


class _Head(Struct):
    type: str = ""
    subtype: str = ""
    session_id: Any = None
    event: _StreamEvent | None = None
    message: _Body | None = None
    parent_tool_use_id: Raw = NULL
    tool_use_result: Raw | UnsetType = UNSET
    num_turns: int = 0
    result: Raw = NULL
    is_error: bool = False
    errors: list[Any] = field(default_factory=list)
    subagent_stats: Raw = NULL
    mcp_servers: list[Any] = field(default_factory=list)
    # Of an assistant's message that the CLI made of an error of the model endpoint.
    error: Raw = NULL
    # Of an answer that was cut, and is asked for again.
    abandoned_blocks: Raw = NULL


class _Unusual(Struct):
    """The fields that a turn's end depends on, of any type and size."""

    type: Raw = NULL
    subtype: Raw = NULL
    is_error: Raw = NULL
    result: Raw = NULL


class _ToolOutput(Struct):
    stdout: str | UnsetType = UNSET
    stderr: str | UnsetType = UNSET


_decode_head = msgspec.json.Decoder(_Head).decode
_decode_unusual = msgspec.json.Decoder(_Unusual).decode
_decode_output = msgspec.json.Decoder(_ToolOutput).decode

# Results that say that a limit of the request was reached, which is not a failure.
BUDGET_WORDS = "The turn has reached its limit, which is maxTurns or maxBudgetUsd"
_BUDGETS = {"error_max_turns", "error_max_budget_usd"}


def read(raw: bytes | memoryview) -> Reading:
    """Reads one SDK message. An unknown shape is passed on as it is."""
    reading = Reading([], [], durable=True)
    head = _head_of(raw)
    if reader := _READERS.get(head.type):
        reader(head, reading)
        if head.subtype == "api_retry":
            reading.retry = read_retry(raw)
    reading.frames.append(Frame("message", raw))
    return reading


def _head_of(raw: bytes | memoryview) -> _Head:
    try:
        try:
            return _decode_head(raw)
        except msgspec.DecodeError:
            return _decode_head(with_whole_characters(raw))
    except (msgspec.DecodeError, RecursionError):
        return _unusual_head_of(raw)


def _unusual_head_of(raw: bytes | memoryview) -> _Head:
    """The end of a turn is an end whatever its other fields are; all else is passed on alone."""
    try:
        head = _decode_unusual(with_whole_characters(raw))
    except (msgspec.DecodeError, RecursionError):
        return _Head()
    if text_of(head.type) != "result":
        return _Head()
    failed = head.is_error != Raw(b"false")
    return _Head("result", text_of(head.subtype), is_error=failed, result=head.result)


def _object(**values: Any) -> bytes:
    """A JSON object of the values that are not None, each with its original bytes."""
    return _encode({name: value for name, value in values.items() if value is not None})


def _parent(head: _Head) -> Raw | None:
    """The id of the call that started the subagent whose message this is."""
    return None if head.parent_tool_use_id == NULL else head.parent_tool_use_id


def _read_stream_event(head: _Head, reading: Reading) -> None:
    reading.durable = False
    if head.abandoned_blocks != NULL:
        reading.abandoned, reading.parent = True, text_of(head.parent_tool_use_id) or None
    delta = head.event.delta if head.event else None
    if delta is None:
        return
    more = {"parentToolUseId": _parent(head)}
    if delta.text is not UNSET:
        reading.frames.append(Frame("text_delta", _object(delta=delta.text, **more)))
    if delta.thinking is not UNSET:
        reading.frames.append(Frame("thinking_delta", _object(delta=delta.thinking, **more)))


def _blocks(head: _Head) -> list[_Block]:
    content = head.message.content if head.message else ""
    return content if isinstance(content, list) else []


def _read_assistant(head: _Head, reading: Reading) -> None:
    parent = _parent(head)
    for block in _blocks(head):
        match block.type:
            case "text" if head.error == NULL:
                data = _object(text=block.text, parentToolUseId=parent).decode()
                reading.timeline.append(("text", data))
            case "thinking":
                data = _object(thinking=block.thinking, parentToolUseId=parent).decode()
                reading.timeline.append(("reasoning", data))
            case "tool_use":
                more = {"input": block.input, "parentToolUseId": parent}
                call = _object(id=block.id, name=block.name, **more)
                reading.frames.append(Frame("tool_use", call))
                start = _object(toolName=block.name, toolId=block.id, **more)
                reading.timeline.append(("tool_start", start.decode()))


def _read_user(head: _Head, reading: Reading) -> None:
    parent = _parent(head)
    for block in _blocks(head):
        if block.type != "tool_result":
            continue
        more = {"content": block.content, "is_error": block.is_error, "parentToolUseId": parent}
        frame = _object(tool_use_id=block.tool_use_id, **more)
        reading.frames.append(Frame("tool_result", frame))
        row = {
            "toolId": block.tool_use_id,
            **_tool_output(head.tool_use_result),
            "content": block.content,
            **({} if block.is_error is None else {"isError": block.is_error}),
            **({} if parent is None else {"parentToolUseId": parent}),
        }
        reading.timeline.append(("tool_result", _encode(row).decode()))


def _tool_output(result: Raw | UnsetType) -> dict[str, str]:
    """The tool's stdout and stderr, if its result separates them."""
    if result is UNSET:
        return {}
    try:
        output = _decode_output(result)
    except msgspec.ValidationError:
        return {}
    found = {"stdout": output.stdout, "stderr": output.stderr}
    return {name: text for name, text in found.items() if text is not UNSET}


def _read_system(head: _Head, reading: Reading) -> None:
    if head.subtype != "init":
        return
    if is_uuid(head.session_id):
        reading.conversation = head.session_id
    if head.mcp_servers:
        data = _encode({"servers": head.mcp_servers}).decode()
        reading.timeline.append(("mcp_status", data))


def _read_result(head: _Head, reading: Reading) -> None:
    reading.ending = _ending(head)
    if subagents_run(head.subagent_stats):
        reading.ending = Ending("completed", interim=True)
        return
    answer = head.result if reading.ending.reason == "completed" else NULL
    data = _encode({"numTurns": head.num_turns, "result": answer})
    reading.frames.append(Frame("turn_complete", data))
    reading.timeline.append(("turn_complete", data.decode()))


def _ending(head: _Head) -> Ending:
    if head.subtype in _BUDGETS:
        return Ending("budget")
    if head.is_error or head.subtype.startswith("error"):
        return Ending("error", failure_text(head.subtype, head.errors, head.result))
    return Ending("completed")


# Some readers split lines there, the iterators of httpx and requests among them.
_LINE_ENDS = "\x85\u2028\u2029"

_READERS = {
    "assistant": _read_assistant,
    "result": _read_result,
    "stream_event": _read_stream_event,
    "system": _read_system,
    "user": _read_user,
}


def _one_line(values: dict[str, Any]) -> bytes:
    """JSON for a frame with texts of ours, which no reader takes for several lines.

    The CLI writes these characters as escapes too, so its own bytes are left alone.
    """
    data = _encode(values)
    if not data.isascii():
        for character in _LINE_ENDS:
            data = data.replace(character.encode(), b"\\u%04x" % ord(character))
    return data


def session_start(session_id: str, version: str, origin: TurnOrigin | None = None) -> Frame:
    more = {} if origin is None else {"origin": origin}
    data = {"sessionId": session_id, "version": version, **more}
    return Frame("session_start", _encode(data))


def mcp_status(servers: list[McpServerState]) -> Frame:
    return Frame("mcp_status", _one_line({"servers": servers}))


def error(text: str, **more: Any) -> Frame:
    return Frame("error", _one_line({"error": text, **more}))


def retry(retry: Retry, error: str, *, discard: bool, parent: str | None = None) -> Frame:
    """With `discard` it takes back the deltas since the last complete message of that parent."""
    data: dict[str, Any] = {
        "attempt": retry.attempt,
        "of": retry.of,
        "status": retry.status,
        "retryInMs": retry.pause_ms,
        "error": error,
    }
    if discard:
        data["discard"] = True
    if parent is not None:
        data["parentToolUseId"] = parent
    return Frame("retry", _one_line(data))


def recovered(what: Recovered) -> Frame:
    """Tells that something was broken, and what that has cost the agent's memory, if anything."""
    return Frame("recovered", _object(memory=what.memory, warning=what.text))


def done(session_id: str, reason: TurnReason) -> Frame:
    """It has a `detail` if the reason alone does not say what happened."""
    detail = {"detail": BUDGET_WORDS} if reason == "budget" else {}
    return Frame("done", _encode({"sessionId": session_id, "reason": reason, **detail}))


def gap(requested: int, earliest: int, latest: int) -> Frame:
    """Tells a client that frames from `requested` up to, not including, `earliest` are lost."""
    return Frame("gap", _encode({"requested": requested, "earliest": earliest, "latest": latest}))


def lifecycle(action: str, **more: Any) -> str:
    """The data of a `lifecycle` event of the timeline, without values that are None."""
    return _object(action=action, **more).decode()


def sse(frame_id: int, frame: Frame) -> bytes:
    """The frame as bytes on the wire.

    An SSE reader would take a carriage return for the end of a line. In JSON it can only be white
    space between tokens, so it is replaced by a blank.
    """
    head = f"id: {frame_id}\nevent: {frame.event}\ndata: ".encode()
    return b"".join((head, frame.data, b"\n\n")).replace(b"\r", b" ")


def unwrap(data: bytes) -> tuple[int, Frame]:
    """The id and the frame that `sse` wrote, for a reader in the same process.

    The two short lines before the data have a fixed form. The data is copied once, not searched.
    """
    name_at = data.index(b"\n") + 1
    data_at = data.index(b"\n", name_at) + 1
    event = data[name_at + len(b"event: ") : data_at - 1].decode()
    frame_id = int(data[len(b"id: ") : name_at])
    return frame_id, Frame(event, data[data_at + len(b"data: ") : -len(b"\n\n")])
