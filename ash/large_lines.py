"""Reads the large lines of bridges in a process of its own.

Reading one may take seconds: an agent may have written a million blocks, or escapes that have to be
replaced one by one. In a thread that would hold Python's interpreter lock, and with it every
session. The process is started when the first large line comes, and is used for all of them.
"""

import os
import resource
import subprocess
import sys
import time
from threading import Thread
from typing import TypeAlias

import msgspec
import trio
from msgspec import Raw, Struct

from ash import events
from ash.events import Ending, Frame, Reading
from ash.failure_words import MAX_TEXT
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

# With -P, as for the bridge: a module in the current folder can't replace one of ours.
ARGV = (sys.executable, "-P", "-m", "ash.large_lines")

# A line up to this size is read in the event loop. At worst, if it is full of tiny blocks, that
# takes 10 ms.
LARGE = 64 * 1024

# A real message has a few thousand objects and lists at most: the files that a tool found, say.
MAX_PARTS = 200_000

# For each of its calls of tools, and each result of one, clients get a frame.
MAX_FRAMES = 2000

# How long reading one may take. What takes longest is 32 MB of escapes: 4 s.
READ_SECONDS = 15.0

# What the process may use of memory: several times the largest line.
MEMORY_BYTES = 1024 * 1024 * 1024

# How often the process looks whether its parent still lives.
PARENT_CHECK_SECONDS = 0.5

TOO_COMPLEX = (
    f"A message of the agent was left out: it has more than {MAX_PARTS:,} parts, or more than"
    f" {MAX_FRAMES:,} calls or results of tools"
)
NOT_JSON = "A message of the agent was left out: it is not valid JSON"
NOT_READ = "A message of the agent was left out: it could not be read"

_LENGTH = 8


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


class LargeLinesStatistics(Struct, frozen=True):
    """`started` is how many processes there were so far. One has `pid`."""

    started: int
    pid: int | None


class LargeLines:
    """Reads one line after the other, whichever session they are of."""

    def __init__(self) -> None:
        self._turn = trio.StrictFIFOLock()
        self._process: trio.Process | None = None
        self._started = 0

    def statistics(self) -> LargeLinesStatistics:
        pid = None if self._process is None else self._process.pid
        return LargeLinesStatistics(self._started, pid)

    async def read(self, line: memoryview) -> LargeEvent:
        """What the line says. If it can't be read, an error for the running turn."""
        answer: _Answer = _Refused(NOT_READ)
        async with self._turn:
            whole = False
            try:
                with trio.move_on_after(READ_SECONDS):
                    answer = await self._ask(line)
                    whole = True
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
                pass
            finally:
                if not whole:
                    await self._end()
        return _event(answer, line)

    async def run(self) -> None:
        """Ends the process when it is cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            await self._end()

    async def _ask(self, line: memoryview) -> _Answer:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        await process.stdin.send_all(len(line).to_bytes(_LENGTH))
        await process.stdin.send_all(line)
        size = int.from_bytes(await _receive(process, _LENGTH))
        answer: _Answer = _decode(await _receive(process, size))
        return answer

    async def _start(self) -> trio.Process:
        self._started += 1
        return await trio.lowlevel.open_process(
            [*ARGV, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()


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


async def _receive(process: trio.Process, size: int) -> bytearray:
    """Raises EOFError if the process ends before."""
    assert process.stdout is not None
    data = bytearray()
    while len(data) < size:
        chunk = await process.stdout.receive_some(min(size - len(data), LARGE))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def main() -> None:
    """Answers the lines from stdin on stdout, each with its length in front.

    The argument is the id of the parent; this process exits with it.
    """
    Thread(target=_exit_with_parent, args=[int(sys.argv[1])], daemon=True).start()
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while length := stdin.read(_LENGTH):
        line = stdin.read(int.from_bytes(length))
        answer = msgspec.msgpack.encode(_answer(line))
        stdout.write(len(answer).to_bytes(_LENGTH))
        stdout.write(answer)
        stdout.flush()


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


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
