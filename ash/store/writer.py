"""Group commit: units that come together are committed together, by one task."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

import trio

from ash.store.driver import Closed, Result, Unit

Outcome: TypeAlias = Result | Exception


class Commit(Protocol):
    def __call__(self, units: Sequence[Unit], /) -> Sequence[Outcome]:
        """Runs in a thread. Commits each unit or tells why not; one never harms another."""
        ...


class _Job:
    __slots__ = ("done", "outcome", "unit")

    def __init__(self, unit: Unit) -> None:
        self.unit = unit
        self.done = trio.Event()
        self.outcome: Outcome

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self.done.set()


class Writer:
    """`commit` and `close` run in a thread, never two of them at a time."""

    def __init__(self, commit: Commit, close: Callable[[], None]) -> None:
        self._commit = commit
        self._close = close
        self._jobs: list[_Job] = []
        self._wake = trio.Event()
        self._closed = False
        # Its own, so that other work in threads never makes a commit wait.
        self._thread = trio.CapacityLimiter(1)

    async def write(self, unit: Unit) -> Result:
        """See `Driver.write`. A caller that was cancelled before has nothing written."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._closed:
            raise Closed
        job = _Job(unit)
        self._jobs.append(job)
        self._wake.set()
        await job.done.wait()
        if isinstance(job.outcome, Exception):
            raise job.outcome
        return job.outcome

    async def run(self) -> None:
        """See `Driver.run`."""
        try:
            while True:
                await self._wake.wait()
                await self._flush()
        finally:
            self._closed = True
            await self._flush()
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(self._close, limiter=self._thread)

    async def _flush(self) -> None:
        """Commits what is there; a commit that has begun is not left alone with its callers."""
        self._wake = trio.Event()
        jobs, self._jobs = self._jobs, []
        if not jobs:
            return
        outcomes: Sequence[Outcome]
        try:
            with trio.CancelScope(shield=True):
                outcomes = await trio.to_thread.run_sync(
                    self._commit, [job.unit for job in jobs], limiter=self._thread
                )
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear it
            outcomes = [error] * len(jobs)
        for job, outcome in zip(jobs, outcomes, strict=True):
            job.settle(outcome)
