"""How long an agent has to do what it is asked. What its store takes is not its own time."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import trio

# What is shorter counts: many quick writes must not keep a stubborn agent alive.
STALL_SECONDS = 1.0


class Deadlines:
    """The limits that hold in one turn. After a write that was stuck they begin anew."""

    def __init__(self) -> None:
        self._limits: dict[trio.CancelScope, tuple[float, float]] = {}
        self._is_writing = False

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Ends the block when the agent has had so long."""
        with trio.CancelScope() as scope:
            self._set(scope, seconds, trio.current_time() + seconds)
            try:
                yield
            finally:
                del self._limits[scope]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """No limit ends in the block."""
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
