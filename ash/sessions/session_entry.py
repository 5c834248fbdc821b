"""Lets callers into a session, one after the other."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import trio

from ash.sessions.session_sandbox import SessionSandbox
from ash.sessions.turn import Turn

WhenBusy = Literal["refuse", "queue", "interrupt"]


class SessionEntry:
    """`running` gives the turn that runs, if any."""

    def __init__(self, sandbox: SessionSandbox, running: Callable[[], Turn | None]) -> None:
        self._sandbox = sandbox
        self._running = running
        self._lock = trio.StrictFIFOLock()
        self._interrupting = 0

    @asynccontextmanager
    async def __call__(self, when_busy: WhenBusy) -> AsyncIterator[None]:
        """Waits until no turn runs, or ends the one that does. Callers enter in their order.

        With "interrupt" it also ends the turns of all callers that entered before.
        With "refuse" it waits only for a turn whose end was shown: to a client that is over.
        """
        if when_busy == "refuse":
            while (turn := self._running()) is not None and turn.last_frame is not None:
                await turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield
            return
        async with self._place(interrupts=when_busy == "interrupt"):
            while (turn := self._running()) is not None:
                if when_busy == "interrupt" or self._interrupting:
                    await turn.stop("interrupted")
                await turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield

    @asynccontextmanager
    async def _place(self, *, interrupts: bool) -> AsyncIterator[None]:
        """Waits for the callers that came before. One that interrupts does not let them wait."""
        self._interrupting += interrupts
        try:
            if interrupts and self._lock.locked():
                self._stop_running()
            await self._lock.acquire()
        finally:
            self._interrupting -= interrupts
        try:
            yield
        finally:
            self._lock.release()

    def _stop_running(self) -> None:
        """Stops the turn in a task of its sandbox. A sandbox that ends does that by itself."""
        if (turn := self._running()) is not None and self._sandbox.process is not None:
            self._sandbox.start(partial(turn.stop, "interrupted"))
