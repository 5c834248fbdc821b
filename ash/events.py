"""Reads SDK messages: which frames clients get for one.

The message itself is passed on unchanged. Values taken out of it stay `msgspec.Raw`, the bytes
that the CLI wrote.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct

from ash.failure_words import failure_text, text_of
from ash.model import TurnOrigin, TurnReason
from ash.model_retry import Retry, read_retry
from ash.protocol import McpServerState, Recovered, is_uuid
from ash.sdk_message import NULL, Head, blocks_of, head_of, is_interim, json_object, parent_of
from ash.timeline import count, succeeded, turn_complete

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

    `events` is how many events of the timeline follow, too.

    A message that is not `durable` (a delta) is not stored, because the complete one follows.
    `conversation` is the id of the conversation, from the message that begins a turn. `abandoned`
    means that the deltas since the last complete message will come again; those of a subagent have
    its `parent`.
    """

    frames: list[Frame]
    durable: bool
    events: int = 0
    ending: Ending | None = None
    conversation: str | None = None
    retry: Retry | None = None
    abandoned: bool = False
    parent: str | None = None


# Results that say that a limit of the request was reached, which is not a failure.
BUDGET_WORDS = "The turn has reached its limit, which is maxTurns or maxBudgetUsd"
_BUDGETS = {"error_max_turns", "error_max_budget_usd"}


def read(raw: bytes | memoryview) -> Reading:
    """Reads one SDK message. An unknown shape is passed on as it is."""
    head = head_of(raw)
    reading = Reading([], durable=True, events=count(head))
    if reader := _READERS.get(head.type):
        reader(head, reading)
        if head.subtype == "api_retry":
            reading.retry = read_retry(raw)
    reading.frames.append(Frame("message", raw))
    return reading


def _read_stream_event(head: Head, reading: Reading) -> None:
    reading.durable = False
    if head.abandoned_blocks != NULL:
        reading.abandoned, reading.parent = True, text_of(head.parent_tool_use_id) or None
    delta = head.event.delta if head.event else None
    if delta is None:
        return
    more = {"parentToolUseId": parent_of(head)}
    if delta.text is not UNSET:
        reading.frames.append(Frame("text_delta", json_object(delta=delta.text, **more)))
    if delta.thinking is not UNSET:
        reading.frames.append(Frame("thinking_delta", json_object(delta=delta.thinking, **more)))


def _read_assistant(head: Head, reading: Reading) -> None:
    parent = parent_of(head)
    for block in blocks_of(head):
        if block.type == "tool_use":
            call = {"id": block.id, "name": block.name, "input": block.input}
            data = json_object(**call, parentToolUseId=parent)
            reading.frames.append(Frame("tool_use", data))


def _read_user(head: Head, reading: Reading) -> None:
    parent = parent_of(head)
    for block in blocks_of(head):
        if block.type == "tool_result":
            more = {"content": block.content, "is_error": block.is_error, "parentToolUseId": parent}
            frame = json_object(tool_use_id=block.tool_use_id, **more)
            reading.frames.append(Frame("tool_result", frame))


def _read_system(head: Head, reading: Reading) -> None:
    if head.subtype == "init" and is_uuid(head.session_id):
        reading.conversation = head.session_id


def _read_result(head: Head, reading: Reading) -> None:
    reading.ending = _ending(head)
    if is_interim(head):
        reading.ending = Ending("completed", interim=True)
        return
    reading.frames.append(Frame("turn_complete", turn_complete(head)))


def _ending(head: Head) -> Ending:
    if head.subtype in _BUDGETS:
        return Ending("budget")
    if succeeded(head):
        return Ending("completed")
    return Ending("error", failure_text(head.subtype, head.errors, head.result))


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
    return Frame("recovered", json_object(memory=what.memory, warning=what.text))


def done(session_id: str, reason: TurnReason) -> Frame:
    """It has a `detail` if the reason alone does not say what happened."""
    detail = {"detail": BUDGET_WORDS} if reason == "budget" else {}
    return Frame("done", _encode({"sessionId": session_id, "reason": reason, **detail}))


def gap(requested: int, earliest: int, latest: int) -> Frame:
    """Tells a client that frames from `requested` up to, not including, `earliest` are lost."""
    return Frame("gap", _encode({"requested": requested, "earliest": earliest, "latest": latest}))


def lifecycle(action: str, **more: Any) -> str:
    """The data of a `lifecycle` event of the timeline, without values that are None."""
    return json_object(action=action, **more).decode()


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
