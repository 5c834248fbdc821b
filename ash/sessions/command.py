"""One shell command that runs in a session's sandbox, beside its turn."""

import trio

from ash.errors import AshError, EngineFailed
from ash.protocol import Exec, ExecResult
from ash.sandbox.link import Link

# The bridge keeps the time; a bridge that doesn't even answer is given so much more.
PATIENCE_SECONDS = 10.0


class ShellCommand:
    """Runs as a task of its sandbox: it goes on to its end if who asked has left."""

    def __init__(self, link: Link, command: Exec) -> None:
        self._link = link
        self._command = command
        self._ended = trio.Event()
        self._outcome: ExecResult | AshError = EngineFailed("The sandbox ended with the command")

    async def run(self) -> None:
        """Raises nothing but Cancelled."""
        try:
            with trio.move_on_after(self._command.timeout / 1000 + PATIENCE_SECONDS) as patience:
                self._outcome = await self._link.exec(self._command)
            if patience.cancelled_caught:
                self._outcome = EngineFailed("The sandbox does not answer")
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
