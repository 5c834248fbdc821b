"""The bridge's main loop: reads the daemon's commands and sends what the engine answers."""

import os
import signal
import sys
from functools import partial
from typing import Any

import msgspec
import trio
from msgspec import Struct

from ash.protocol import (
    MAX_COMMAND_LINE,
    BridgeCommand,
    Exec,
    Failed,
    History,
    Interrupt,
    Lines,
    LineTooLong,
    Query,
    Shutdown,
    TurnDone,
    decode_command,
    encode,
)
from bridge import forward, git_identity
from bridge.children import CHILDREN, is_init
from bridge.engine import Engine
from bridge.engine_worker import EngineWorker
from bridge.memory import Memory
from bridge.outbox import Outbox
from bridge.shell import run_shell

_CHUNK = 256 * 1024
# How long an ending bridge tries to send its last answers.
_FLUSH_SECONDS = 1.0


async def serve(stream: trio.SocketStream, engine: str) -> None:
    """Serves until the daemon hangs up or says `shutdown`, or until SIGTERM."""
    await Server(stream, engine).run()


class Server:
    """Reads commands, and hands each one on without waiting for it to be done."""

    def __init__(self, stream: trio.SocketStream, engine: str) -> None:
        self._stream = stream
        self._outbox = Outbox()
        self._memory = Memory(self._outbox, _write_log)
        load = partial(load_engine, engine)
        self._worker = EngineWorker(load, self._outbox, _write_log, self._memory)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send)
            async with trio.open_nursery() as self._work:
                await self._start_forward()
                git_identity.set_default(_write_log)
                self._work.start_soon(self._worker.run)
                self._work.start_soon(CHILDREN.reap_orphans)
                self._work.start_soon(self._watch_signals)
                self._work.start_soon(self._read)
            with trio.move_on_after(_FLUSH_SECONDS):
                await self._outbox.flush()
            nursery.cancel_scope.cancel()

    async def _start_forward(self) -> None:
        """Starts the way to the proxy, and puts its address into the environment."""
        if path := os.environ.pop("ASH_EGRESS_SOCKET", None):
            port = await self._work.start(forward.serve, path)
            os.environ.update(forward.environment(port))

    def _end(self) -> None:
        self._work.cancel_scope.cancel()

    async def _send(self) -> None:
        try:
            await self._outbox.send_to(self._stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()

    async def _watch_signals(self) -> None:
        """Process 1 of a sandbox watches none: then the kernel keeps those of agents from it."""
        if is_init():
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            return
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self._end()

    async def _read(self) -> None:
        lines = Lines(MAX_COMMAND_LINE)
        try:
            while chunk := await self._stream.receive_some(_CHUNK):
                self._take(lines, bytes(chunk))
        except trio.BrokenResourceError:
            pass
        self._end()

    def _take(self, lines: Lines, chunk: bytes) -> None:
        try:
            complete = lines.feed(chunk)
        except LineTooLong as error:
            self._outbox.put_now(encode(Failed(str(error))))
            complete = error.lines
        for line in complete:
            try:
                command = _decode(line)
            except ValueError as error:
                self._refuse(line, error)
            else:
                self._dispatch(command)

    def _dispatch(self, command: BridgeCommand) -> None:
        match command:
            case Interrupt():
                self._interrupt(command)
            case Exec():
                self._work.start_soon(self._exec, command)
            case History():
                self._memory.take(command)
            case Shutdown():
                self._end()
            case _:
                self._worker.submit(command)

    def _interrupt(self, command: Interrupt) -> None:
        if (turn := self._worker.find_turn(command.turn)) is not None:
            self._work.start_soon(self._worker.stop, turn)
        elif command.id:
            failed = Failed("There is no turn to interrupt", id=command.id)
            self._outbox.put_now(encode(failed))

    def _refuse(self, line: memoryview, error: ValueError) -> None:
        """Answers a command that can't be decoded, to the id that can still be read of it."""
        head = _head(line)
        self._outbox.put_now(encode(Failed(f"The command was not understood: {error}", id=head.id)))
        if head.cmd == "query":
            self._outbox.put_now(encode(TurnDone(head.session_id, id=head.id)))

    async def _exec(self, command: Exec) -> None:
        try:
            answer = encode(await run_shell(command))
        except (OSError, ValueError) as error:
            answer = encode(Failed(f"The command can't be run: {error}", id=command.id))
        await self._outbox.put(answer)


class _Head(Struct, rename="camel"):
    cmd: str = ""
    id: str = ""
    session_id: str = ""


def _decode(line: memoryview) -> BridgeCommand:
    """Raises ValueError for whatever is not a command: bad JSON, bad UTF-8, a bad field."""
    try:
        command = decode_command(line)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if isinstance(command, Query) and memoryview(command.prompt)[0] not in b'"[':
        raise ValueError("the prompt must be a string or a list - at `$.prompt`")
    return command


def _head(line: memoryview) -> _Head:
    try:
        raw: dict[str, Any] = msgspec.json.decode(line)
        fields = {name: raw.get(name) for name in ("cmd", "id", "sessionId")}
    except (ValueError, RecursionError, AttributeError):
        return _Head()
    known = {name: value for name, value in fields.items() if isinstance(value, str)}
    return msgspec.convert(known, _Head)


def _write_log(text: str) -> None:
    """Writes a line to stderr, which is the session's log."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - stderr is the log


def load_engine(name: str) -> Engine:
    """Imports the engine of that name. Raises ImportError if its SDK is not installed."""
    match name:
        case "claude-agent":
            from bridge.claude_agent import ClaudeAgent

            return ClaudeAgent()
        case "claude-code":
            from bridge.claude_code import ClaudeCode

            return ClaudeCode()
        case "scripted":
            from bridge.scripted import Scripted

            return Scripted()
    raise ImportError(f'there is no engine "{name}"')
