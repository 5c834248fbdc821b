"""The CLI's stdout, line by line: what is the SDK's goes to the SDK, the rest is passed through.

Both SDKs would parse each line and build objects of it. What clients are promised is the line.
"""

import json
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator
from typing import Any

import msgspec
import trio
from msgspec import Struct

from ash.protocol import Lines, LineTooLong, with_whole_characters
from bridge.engine import Emit, WriteLog


class MessageHead(Struct):
    """`Any`, because a shape that we do not know is passed on as it is."""

    type: Any = None
    subtype: Any = None
    state: Any = None
    sdk_host_only: Any = None


_decode = msgspec.json.Decoder(MessageHead).decode


def read_head(line: bytes | memoryview) -> MessageHead:
    """Raises ValueError if the line is not a JSON object."""
    try:
        return _decode(line)
    except msgspec.DecodeError:
        return _decode(with_whole_characters(line))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


# What the CLI says between two turns waits for the next one, that much of it; then the CLI does.
HELD_LIMIT = 8 * 1024 * 1024

_CONTROL = {"control_request", "control_response", "control_cancel_request"}


class TurnLines:
    """One turn, as its lines show it.

    `asked` is when its prompt has been sent, `begun` when the CLI has taken it: an interrupt
    before that would be lost.
    `over` is set when nothing more belongs to it, which is after its last `result`: an agent
    that works in the background is waited for, with what the model makes of its report.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.asked = False
        self.answered = False
        self.begun = trio.Event()
        self.over = trio.Event()
        self.fault = ""

    def end(self) -> None:
        self.begun.set()
        self.over.set()


class RawLines:
    """Sorts what one CLI process writes.

    `turn` is the one that runs. `dead` says why there will be no more lines, and is empty as
    long as there may be some; `on_end` is told so if that comes while no turn runs.
    """

    def __init__(self, say: WriteLog) -> None:
        self._say = say
        self.turn: TurnLines | None = None
        self._held: deque[bytes] = deque()
        self._held_size = 0
        self._released = trio.Event()
        # What the CLI says of itself; None if it is one that does not say.
        self._state: Any = None
        self._idle = trio.Event()
        self._idle.set()
        # A turn was given up on: what the CLI still does belongs to nobody.
        self._cut = False
        self.dead = ""
        self.on_end: WriteLog | None = None

    @property
    def quiet(self) -> bool:
        """The process lives, and neither a turn of ours runs nor one that it began by itself."""
        return not self.dead and not self._cut and self.turn is None and self._idle.is_set()

    async def begin(self, emit: Emit) -> TurnLines:
        """The turn that all lines belong to from now on, until `finish`.

        What came since the last one is emitted first, and what the CLI does by itself, because
        a command in the background has ended, is waited for: a prompt that came in between
        would be answered together with it.
        """
        turn = self.turn = TurnLines(emit)
        self._released.set()
        while self._held:
            line = self._held.popleft()
            self._held_size -= len(line)
            await emit(line)
        await self._idle.wait()
        return turn

    def finish(self) -> None:
        """The turn gets no more lines, and nobody shall wait for it."""
        if self.turn is not None and not self.turn.over.is_set():
            self._cut = self.turn.asked
            self.turn.end()
        self.turn = None
        self._released = trio.Event()

    def mark_dead(self, why: str) -> None:
        """There will be no further line."""
        news, self.dead = not self.dead, self.dead or why
        self._idle.set()
        if self.turn is not None:
            self.turn.end()
        elif news and self.on_end is not None:
            self.on_end(why)

    async def control_messages(self, stdout: AsyncIterable[bytes]) -> AsyncIterator[dict[str, Any]]:
        """What the SDK has to see of the lines; ends with the last one."""
        lines = Lines()
        try:
            async for chunk in stdout:
                for line in lines.feed(chunk):
                    if (message := await self._sort(line)) is not None:
                        yield message
        except LineTooLong as error:
            self.mark_dead(f"The engine wrote too much: {error}")

    async def _sort(self, line: memoryview) -> dict[str, Any] | None:
        try:
            head = read_head(line)
        except ValueError as error:
            self._complain(bytes(line), error)
            return None
        if isinstance(head.type, str) and head.type in _CONTROL:
            message: dict[str, Any] = json.loads(bytes(line))
            return message
        if head.subtype == "session_state_changed" and head.type == "system":
            self._follow(head)
        if head.sdk_host_only is not True:
            await self._pass(line)
        if (turn := self._open_turn()) is not None and turn.asked:
            self._progress(turn, head)
        return None

    def _complain(self, line: bytes, error: Exception) -> None:
        """Some builds print words on stdout, for people; half a message is another thing."""
        text = line[:200].decode(errors="replace")
        if self.turn is not None and line.lstrip().startswith(b"{"):
            self.turn.fault = f"The engine wrote a line that is not JSON ({error}): {text}"
        self._say(text)

    def _follow(self, head: MessageHead) -> None:
        self._state = head.state
        if head.state == "idle":
            self._idle.set()
        elif self._idle.is_set():
            self._idle = trio.Event()

    def _progress(self, turn: TurnLines, head: MessageHead) -> None:
        if head.type == "result":
            turn.answered = True
        elif head.type == "system" and head.subtype == "init":
            turn.begun.set()
        if turn.answered and self._state in (None, "idle"):
            turn.end()

    async def _pass(self, line: memoryview) -> None:
        while self._held_size > HELD_LIMIT and self._open_turn() is None:
            await self._released.wait()
        turn = self._open_turn()
        if turn is None or self._held:
            # A copy: the view would keep the whole chunk it was cut from.
            self._held.append(bytes(line))
            self._held_size += len(line)
        else:
            await turn.emit(line)

    def _open_turn(self) -> TurnLines | None:
        """Lines may come in one piece with the last one of a turn, and not be its."""
        return None if self.turn is None or self.turn.over.is_set() else self.turn
