"""Lets callers into a session, one after the other."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Literal

import trio

from ash.sessions.turn import Turn

WhenBusy = Literal["refuse", "queue", "interrupt"]


class SessionEntry:
    """`running` gives the turn that runs, if any."""

    def __init__(self, running: Callable[[], Turn | None]) -> None:
        self._running = running
        self._lock = trio.StrictFIFOLock()

    @asynccontextmanager
    async def __call__(self, when_busy: WhenBusy) -> AsyncIterator[None]:
        """Waits until no turn runs, or ends the one that does. Callers enter in their order.

        With "refuse" it waits only for a turn whose end was shown: to a client that is over.
        """
        if when_busy == "refuse":
            while (turn := self._running()) is not None and turn.last_frame is not None:
                await turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield
            return
        async with self._lock:
            while (turn := self._running()) is not None:
                if when_busy == "interrupt":
                    await turn.stop("interrupted")
                await turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield
