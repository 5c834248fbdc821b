"""Time limits for an agent. The time that the store takes does not count."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import trio

# Shorter writes do count, or many quick ones would keep an agent alive that does not stop.
STALL_SECONDS = 1.0


class Deadlines:
    """The time limits of one turn. After a write that took long they start again."""

    def __init__(self) -> None:
        self._limits: dict[trio.CancelScope, tuple[float, float]] = {}
        self._is_writing = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Cancels the block after so many seconds of the agent's time."""
        with trio.CancelScope() as scope:
            self._set(scope, seconds, trio.current_time() + seconds)
            try:
                yield
            finally:
                del self._limits[scope]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """No limit expires while the block runs."""
        begun = trio.current_time()
        self._is_writing = True
        self._set_all()
        try:
            yield
        finally:
            self._is_writing = False
            now = trio.current_time()
            self._set_all(now if now - begun >= STALL_SECONDS else None)

    def _set_all(self, anew: float | None = None) -> None:
        for scope, (seconds, deadline) in list(self._limits.items()):
            self._set(scope, seconds, deadline if anew is None else anew + seconds)

    def _set(self, scope: trio.CancelScope, seconds: float, deadline: float) -> None:
        self._limits[scope] = (seconds, deadline)
        scope.deadline = inf if self._is_writing else deadline
