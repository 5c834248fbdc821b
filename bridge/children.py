"""The processes that the bridge starts, and the orphans that it reaps.

In a sandbox with process numbers of its own the bridge is number 1. From inside, the kernel gives
number 1 no signal for which it has no handler. So the agent's code can't stop or kill the bridge.
In return the bridge has to reap every process that has lost its parent.
"""

import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Protocol, TypeVar

import trio

_FIRST = 1


def is_init() -> bool:
    """Whether the bridge is process 1 of its sandbox."""
    return os.getpid() == _FIRST


class _Child(Protocol):
    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """Looks for the status, and keeps it if the process has ended."""


_T = TypeVar("_T", bound=_Child)


class Children:
    """Knows which children are the bridge's own: it leaves their status to whoever waits."""

    def __init__(self) -> None:
        self._own: dict[int, _Child] = {}
        self._starting = 0

    async def start(self, start: Callable[[], Awaitable[_T]]) -> _T:
        """Every process of the bridge is started through this."""
        self._own = {pid: child for pid, child in self._own.items() if child.returncode is None}
        self._starting += 1
        try:
            child = await start()
            self._own[child.pid] = child
        finally:
            self._starting -= 1
            self.reap()
        return child

    async def reap_orphans(self) -> None:
        """Runs until cancelled, or ends at once if orphans are somebody else's."""
        if not is_init():
            return
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            self.reap()
            async for _ in signals:
                self.reap()

    def reap(self) -> None:
        # A child that is just being started is not known yet.
        if self._starting or not is_init():
            return
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                self._reap(ended.si_pid)

    def _reap(self, pid: int) -> None:
        own = self._own.pop(pid, None)
        # Its number may be that of an orphan by now, which the next call reaps.
        if own is None or own.returncode is None:
            os.waitpid(pid, os.WNOHANG)


CHILDREN = Children()
