"""Reads the large lines of bridges in a process of its own.

Reading one may take seconds: an agent may have written a million blocks, or escapes that have to be
replaced one by one.
"""

from typing import TypeAlias

import msgspec
from msgspec import Raw, Struct

from ash import events
from ash.escapes import has_many_escapes
from ash.events import Ending, Frame, Reading
from ash.failure_words import MAX_TEXT
from ash.helper_process import HelperProcess, serve
from ash.model_retry import Retry
from ash.protocol import (
    BackgroundTasks,
    ExecResult,
    Failed,
    McpStatus,
    decode_event,
    message_in,
    with_whole_characters,
)

# A line up to this size is read in the event loop. At worst, if it is full of tiny blocks, that
# takes 10 ms.
LARGE = 64 * 1024

# A real message has a few thousand objects and lists at most: the files that a tool found, say.
MAX_PARTS = 200_000

# For each of its calls of tools, and each result of one, clients get a frame.
MAX_FRAMES = 2000

# How long reading one may take. What takes longest is 32 MB of escapes: 4 s.
READ_SECONDS = 15.0

TOO_COMPLEX = (
    f"A message of the agent was left out: it has more than {MAX_PARTS:,} parts, more than"
    f" {MAX_FRAMES:,} calls or results of tools, or too many escapes"
)
NOT_JSON = "A message of the agent was left out: it is not valid JSON"
NOT_READ = "A message of the agent was left out: it could not be read"


class LargeMessage(Struct):
    """An SDK message, byte for byte as the CLI wrote it, and what follows from it."""

    data: memoryview
    reading: Reading


class _Read(Struct, tag=True):
    """A `Reading` without the frame of the message itself."""

    frames: list[tuple[str, memoryview]]
    durable: bool
    events: int
    ending: Ending | None
    conversation: str | None
    retry: Retry | None
    abandoned: bool
    parent: str | None


class _Other(Struct, tag=True):
    event: BackgroundTasks | ExecResult | Failed | McpStatus


class _Refused(Struct, tag=True):
    why: str


LargeEvent: TypeAlias = LargeMessage | BackgroundTasks | ExecResult | Failed | McpStatus
_Answer: TypeAlias = _Read | _Other | _Refused
_decode = msgspec.msgpack.Decoder(_Answer).decode
_check_json = msgspec.json.Decoder(Raw).decode


class LargeLines:
    """Reads one line after the other, whichever session they are of."""

    def __init__(self) -> None:
        self._helper = HelperProcess("ash.large_lines", READ_SECONDS)
        self.statistics = self._helper.statistics
        self.run = self._helper.run

    async def read(self, line: memoryview) -> LargeEvent:
        """What the line says. If it can't be read, an error for the running turn."""
        answer = await self._helper.ask(line)
        return _event(_Refused(NOT_READ) if answer is None else _decode(answer), line)


def _event(answer: _Answer, line: memoryview) -> LargeEvent:
    if isinstance(answer, _Refused):
        return Failed(answer.why)
    if isinstance(answer, _Other):
        return answer.event
    data = message_in(line)
    assert data is not None
    frames = [Frame(event, frame) for event, frame in answer.frames]
    reading = Reading(
        [*frames, Frame("message", data)],
        durable=answer.durable,
        events=answer.events,
        ending=answer.ending,
        conversation=answer.conversation,
        retry=answer.retry,
        abandoned=answer.abandoned,
        parent=answer.parent,
    )
    return LargeMessage(data, reading)


def _answer(line: bytes) -> _Answer:
    if line.count(b"{") + line.count(b"[") > MAX_PARTS:
        return _Refused(TOO_COMPLEX)
    try:
        data = message_in(memoryview(line))
        return _other(line) if data is None else _message(data)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return _Refused(NOT_JSON)
    except MemoryError:
        return _Refused(NOT_READ)


def _message(data: memoryview) -> _Answer:
    if has_many_escapes(data):
        return _Refused(TOO_COMPLEX)
    str(data, "utf-8")
    _check_json(with_whole_characters(data))
    reading = events.read(data)
    if len(reading.frames) > MAX_FRAMES:
        return _Refused(TOO_COMPLEX)
    return _Read(
        [(frame.event, memoryview(frame.data)) for frame in reading.frames[:-1]],
        reading.durable,
        reading.events,
        reading.ending,
        reading.conversation,
        reading.retry,
        reading.abandoned,
        reading.parent,
    )


def _other(line: bytes) -> _Answer:
    event = decode_event(line)
    if isinstance(event, Failed):
        return _Other(Failed(event.error[:MAX_TEXT], event.id))
    if isinstance(event, BackgroundTasks | ExecResult | McpStatus):
        return _Other(event)
    return _Refused(NOT_READ)


if __name__ == "__main__":
    serve(lambda line: msgspec.msgpack.encode(_answer(line)))
