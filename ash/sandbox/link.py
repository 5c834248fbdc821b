"""The daemon's end of the socket to a bridge."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TypeAlias

import msgspec
import trio
from msgspec import Raw, structs

from ash.egress import ModelFault
from ash.errors import AshError, EngineFailed
from ash.large_lines import LARGE, LargeLines, LargeMessage
from ash.protocol import (
    BackgroundTasks,
    BridgeCommand,
    BridgeEvent,
    EngineExited,
    EngineMessage,
    Exec,
    ExecResult,
    Failed,
    History,
    HistoryWanted,
    Lines,
    LineTooLong,
    Log,
    McpServerState,
    McpStatus,
    Open,
    Opened,
    OwnTurn,
    PromptRefused,
    PromptTaken,
    Ready,
    Recovered,
    Resume,
    TurnDone,
    decode_event,
    encode_line,
)

CHUNK = 64 * 1024

# How many lines are handled before other sessions get their turn: 100 messages take 3 ms.
AT_ONCE = 100

TurnEvent = (
    EngineMessage
    | LargeMessage
    | McpStatus
    | Failed
    | TurnDone
    | PromptTaken
    | PromptRefused
    | ModelFault
    | Recovered
)


def is_last(event: TurnEvent) -> bool:
    """Whether no event of the turn follows: its end, or that the agent did not take it."""
    return isinstance(event, TurnDone | PromptRefused)


LinkEvent: TypeAlias = BridgeEvent | LargeMessage
Batches: TypeAlias = trio.MemoryReceiveChannel[list[TurnEvent]]
Remember: TypeAlias = Callable[[], Awaitable[list[Raw]]]

# Bounds for what a bridge may ask for and tell. The agent may have taken the bridge over.
MAX_HISTORIES = 10
MAX_RECOVERED = 10
MAX_TEXT = 500
MAX_SERVERS = 100
MAX_SERVER_TEXT = 2000


# What a caller is told whose command the bridge can't answer any more.
START_CUT = "The agent's process ended while it was starting"
COMMAND_CUT = "The sandbox ended while the command ran"

# The bridge ends a command that takes too long. This is the extra time before the daemon gives up
# on a bridge that does not answer or does not read.
PATIENCE_SECONDS = 10.0
NO_ANSWER = "The sandbox does not answer"
TAKES_NOTHING = "The agent's process did not read what it was sent, so its sandbox was ended"


class Link:
    """Sends commands, and gives each answer to the caller that waits for it.

    `run` is the only reader; it runs in the sandbox's nursery. At most one turn at a time takes
    the events `message`, `error` and `done`. Events that were received together are given to it
    together. While the turn is busy nothing more is read, so the bridge has to wait. `remember`
    gives what is stored of the session's conversation.

    `on_own_turn` is called when the engine has begun a turn by itself, and nothing is read until
    it returns. `on_tasks` is called with what runs in the background whenever that changes.
    `turn_is_over` says that the turn that listens has its last event.
    """

    def __init__(self, stream: trio.abc.Stream, large_lines: LargeLines) -> None:
        self._stream = stream
        self._large_lines = large_lines
        self._sending = trio.StrictFIFOLock()
        self._ids = count(1)
        self._answers: dict[str, _Answer] = {}
        self._turn: trio.MemorySendChannel[list[TurnEvent]] | None = None
        self._turn_id = ""
        self.turn_is_over = False
        self.on_own_turn: Callable[[OwnTurn], Awaitable[None]] | None = None
        self.on_tasks: Callable[[list[str]], None] | None = None
        self._engine_gone = trio.Event()
        self._why_gone = ""
        self._histories = 0
        self._recovered: list[Recovered] = []
        self.remember: Remember | None = None
        # Why the daemon itself has ended the link, in words; empty if it has not.
        self.fault = ""
        self.ready = trio.Event()
        self.closed = trio.Event()

    async def run(self) -> None:
        """Reads until the bridge is gone, then tells everybody who waits."""
        lines = Lines()
        try:
            async with self._stream:
                while chunk := await self._stream.receive_some(CHUNK):
                    await self._read(_split(lines, bytes(chunk)))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._close()

    async def send(self, command: BridgeCommand) -> None:
        """Raises EngineFailed if the bridge is gone.

        A caller that gives up while its command is being written ends the link: half a line may
        have been sent, so the bridge would not understand the next one.
        """
        data = encode_line(command)
        try:
            async with self._sending:
                await trio.lowlevel.checkpoint_if_cancelled()
                try:
                    await self._stream.send_all(data)
                except trio.Cancelled:
                    self.fault = TAKES_NOTHING
                    await trio.aclose_forcefully(self._stream)
                    raise
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise EngineFailed("The agent's process is gone") from None

    async def open(self, command: Open | Resume) -> None:
        """Boots the engine. Raises EngineFailed with what the bridge says is wrong."""
        await self._ask(command)

    async def exec(self, command: Exec) -> ExecResult:
        """Runs a shell command beside the turn. Raises EngineFailed if it can't be run."""
        result = None
        with trio.move_on_after(command.timeout / 1000 + PATIENCE_SECONDS):
            result = await self._ask(command)
        if result is None:
            raise EngineFailed(NO_ANSWER)
        if not isinstance(result, ExecResult):
            raise EngineFailed("The bridge answered something else")
        return result

    @asynccontextmanager
    async def turn(self, turn_id: str = "") -> AsyncIterator[Batches]:
        """Gives the events of a query's turn, in the batches in which they are received.

        Enter it before the query is sent. The channel ends when the bridge is gone.
        """
        batches = self.listen(turn_id)
        try:
            yield batches
        finally:
            self.stop_listening(batches)

    def listen(self, turn_id: str = "") -> Batches:
        """As `turn`, for a caller that calls `stop_listening` itself."""
        assert self._turn is None
        self._turn, batches = trio.open_memory_channel[list[TurnEvent]](0)
        self._turn_id, self.turn_is_over = turn_id, False
        if self.closed.is_set():
            self._turn.close()
        return batches

    def stop_listening(self, batches: Batches) -> None:
        if self._turn is not None:
            self._turn.close()
        self._turn = None
        batches.close()

    async def engine_gone(self) -> str:
        """Returns why, when the engine has died between two turns."""
        await self._engine_gone.wait()
        self._engine_gone = trio.Event()
        return self._why_gone

    def note_mended(self, texts: Iterable[str]) -> None:
        """What the daemon itself has mended is told together with what the bridge does."""
        self._recovered += map(Recovered, texts)

    def take_recovered(self) -> list[Recovered]:
        """What the bridge has mended since the last call, while no turn ran."""
        recovered, self._recovered = self._recovered, []
        return recovered

    async def _send_history(self, wanted: HistoryWanted) -> None:
        self._histories += 1
        messages: list[Raw] = []
        if self.remember is not None and self._histories <= MAX_HISTORIES:
            messages = await self.remember()
        # Nothing is read meanwhile. A bridge that asks and then does not listen is broken.
        with suppress(EngineFailed), trio.move_on_after(PATIENCE_SECONDS):
            await self.send(History(messages=messages, id=wanted.id))

    def next_id(self) -> str:
        return str(next(self._ids))

    async def _ask(self, command: Open | Resume | Exec) -> BridgeEvent:
        command = structs.replace(command, id=self.next_id())
        if_gone = COMMAND_CUT if isinstance(command, Exec) else START_CUT
        answer = self._answers[command.id] = _Answer(if_gone)
        try:
            await self.send(command)
            return await answer.wait()
        finally:
            del self._answers[command.id]

    async def _read(self, lines: list[memoryview | Failed]) -> None:
        """Handles lines that came together, a few at a time: others get their turn in between."""
        for start in range(0, len(lines), AT_ONCE):
            await self._dispatch([await self._event(at) for at in lines[start : start + AT_ONCE]])

    async def _event(self, line: memoryview | Failed) -> LinkEvent:
        """A line that can't be read becomes an error of the running turn; the link goes on."""
        if isinstance(line, Failed):
            return line
        if len(line) > LARGE:
            return await self._large_lines.read(line)
        try:
            return decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Failed("The bridge sent a line that can't be read")

    async def _dispatch(self, events: list[LinkEvent]) -> None:
        batch: list[TurnEvent] = []
        for event in events:
            match event:
                case Failed() if self._is_past(event.id):
                    self._answer(event)
                case TurnDone() | PromptTaken() | PromptRefused() if self._is_past(event.id):
                    pass
                case McpStatus():
                    batch.append(_bounded(event))
                case (
                    EngineMessage()
                    | LargeMessage()
                    | Failed()
                    | TurnDone()
                    | PromptTaken()
                    | PromptRefused()
                ):
                    batch.append(event)
                case OwnTurn():
                    await self._give(batch)
                    batch = []
                    if self.on_own_turn is not None:
                        await self.on_own_turn(event)
                case Recovered():
                    batch.append(Recovered(event.text[:MAX_TEXT], event.memory))
                case _:
                    await self._take(event)
        if self._turn is None:
            told = [event for event in batch if isinstance(event, Recovered)]
            self._recovered = [*self._recovered, *told][:MAX_RECOVERED]
        await self._give(batch)

    def _is_past(self, turn_id: str) -> bool:
        """Whether an event with this id belongs to an earlier turn, which was given up."""
        return turn_id not in ("", self._turn_id)

    async def tell(self, fault: ModelFault) -> None:
        """Gives the running turn what the proxy has to say."""
        await self._give([fault])

    async def _give(self, batch: list[TurnEvent]) -> None:
        self.turn_is_over |= any(map(is_last, batch))
        if batch and self._turn is not None:
            # A turn that was given up does not listen any more.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._turn.send(batch)

    async def _take(self, event: BridgeEvent) -> None:
        """Takes an event that is no turn's."""
        match event:
            case Ready():
                self.ready.set()
            case Opened() | ExecResult() if event.id:
                self._answer(event)
            case EngineExited():
                self._why_gone = event.error
                self._engine_gone.set()
            case BackgroundTasks() if self.on_tasks is not None:
                self.on_tasks(event.tasks)
            case HistoryWanted():
                await self._send_history(event)
            case Log() | _:
                pass

    def _answer(self, event: Opened | ExecResult | Failed) -> None:
        """The caller may have given up meanwhile."""
        if answer := self._answers.get(event.id):
            answer.give(event)

    def _close(self) -> None:
        self.closed.set()
        self.ready.set()
        if self._turn is not None:
            self._turn.close()
        for answer in self._answers.values():
            answer.give(Failed(answer.if_gone))


class _Answer:
    """The answer to one command, for the caller that waits. `if_gone` is what a death says."""

    def __init__(self, if_gone: str) -> None:
        self.if_gone = if_gone
        self._came = trio.Event()
        self._event: BridgeEvent | None = None

    def give(self, event: BridgeEvent) -> None:
        self._event = event
        self._came.set()

    async def wait(self) -> BridgeEvent:
        await self._came.wait()
        assert self._event is not None
        if isinstance(self._event, Failed):
            raise EngineFailed(self._event.error)
        return self._event


def _bounded(status: McpStatus) -> McpStatus:
    return McpStatus(
        [
            McpServerState(
                server.name[:MAX_SERVER_TEXT],
                server.status[:MAX_SERVER_TEXT],
                server.error and server.error[:MAX_SERVER_TEXT],
            )
            for server in status.servers[:MAX_SERVERS]
        ]
    )


def _split(lines: Lines, chunk: bytes) -> list[memoryview | Failed]:
    """The lines that the chunk completed, and an error in the place of one that is too long."""
    try:
        return list(lines.feed(chunk))
    except LineTooLong as error:
        return [Failed(f"The bridge sent too much: {error}"), *error.lines]


class ShellCommand:
    """Runs as a task of its sandbox, so it goes on if the caller is cancelled."""

    def __init__(self, link: Link, command: Exec) -> None:
        self._link = link
        self._command = command
        self._ended = trio.Event()
        self._outcome: ExecResult | AshError = EngineFailed("The sandbox ended with the command")

    async def run(self) -> None:
        """Raises nothing but Cancelled."""
        try:
            self._outcome = await self._link.exec(self._command)
        except AshError as error:
            self._outcome = error
        finally:
            self._ended.set()

    async def result(self) -> ExecResult:
        """Raises EngineFailed if it could not be run, or its sandbox ended."""
        await self._ended.wait()
        if isinstance(self._outcome, AshError):
            raise self._outcome
        return self._outcome
