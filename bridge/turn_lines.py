"""The lines of one turn, from the CLI's first one to its last."""

from collections import deque
from typing import Any

import trio

from bridge.engine import Emit

# At most this many bytes are kept of a turn that nobody has claimed. Beyond that we stop reading,
# and the CLI blocks on its full pipe.
MAX_HELD = 8 * 1024 * 1024


class TurnLines:
    """Collects lines until somebody claims them, and passes them on from then on.

    It begins as the lines that follow a turn. They belong to the next turn: to a prompt of ours,
    whose `uuid` the CLI repeats, or to a turn that the CLI begins by itself (`is_own`).

    `begun` is set when the CLI has taken the prompt and can be interrupted, `over` when no further
    line belongs to the turn. `decided` is set when it is known whether the CLI has `taken` the
    prompt or was `overtaken`: it has begun a turn by itself instead. `mcp_servers` is what the
    `init` of the turn says of them, None if there was no `init`. `fault` says why the turn has
    failed although the CLI lives.
    """

    def __init__(self) -> None:
        self.uuid = ""
        self.is_own = False
        self.yields = False
        self.prompt_sent = False
        self.taken = False
        self.overtaken = False
        self.result_seen = False
        self.answered = False
        self.decided = trio.Event()
        self.begun = trio.Event()
        self.over = trio.Event()
        self.fault = ""
        self.mcp_servers: Any = None
        self._emit: Emit | None = None
        self._claimed = trio.Event()
        self._held: deque[bytes] = deque()
        self._size = 0

    @property
    def is_turn(self) -> bool:
        return bool(self.uuid) or self.is_own

    def begin_own(self) -> None:
        """The CLI has begun this turn by itself."""
        self.is_own = self.prompt_sent = self.taken = True

    def become_ours(self) -> None:
        """What the CLI has begun by itself becomes part of a prompt that was sent too early."""
        self.is_own = self.prompt_sent = self.taken = False
        self.result_seen = self.answered = False

    def take(self) -> None:
        """The CLI has taken the prompt: it works on no other turn."""
        self.taken = True
        self.decided.set()

    def see_result(self, *, last: bool) -> None:
        """`last`: no further result is expected, because no subagent has still to report."""
        self.result_seen, self.answered = True, last

    def overtake(self) -> "TurnLines":
        """The CLI has begun a turn by itself. Returns that turn, with all lines so far."""
        other = TurnLines()
        other._held, self._held = self._held, other._held
        other._size, self._size = self._size, 0
        other.begin_own()
        self.overtaken = True
        self.decided.set()
        return other

    def end(self) -> None:
        # Claimed, too: nobody will, and the reader must not wait for that.
        for event in (self.decided, self.begun, self.over, self._claimed):
            event.set()

    async def put(self, line: memoryview) -> None:
        if self._size > MAX_HELD:
            await self._claimed.wait()
        if self._emit is not None:
            await self._emit(line)
            return
        # A copy, because the view would keep the whole chunk alive.
        self._held.append(bytes(line))
        self._size += len(line)

    async def claim(self, emit: Emit) -> None:
        """Passes on what was held; `put` does the same with each line from then on."""
        self._claimed.set()
        while self._held:
            line = self._held.popleft()
            self._size -= len(line)
            await emit(line)
        self._emit = emit


def described(tasks: Any) -> list[str]:
    """The tasks of a `background_tasks_changed` in the CLI's words; odd ones are left out."""
    if not isinstance(tasks, list):
        return []
    texts = [task.get("description") for task in tasks if isinstance(task, dict)]
    return [text for text in texts if isinstance(text, str)]
