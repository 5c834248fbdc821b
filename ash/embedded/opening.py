"""Opens the core below a script, and ends it with the script, however that ends."""

import os
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from ash.config import Settings
from ash.core import Core, open_core
from ash.data_dir import absolute, owned
from ash.errors import AshError, StartError


class OpenCore:
    """An open core, and the calls that are under way in it.

    A call runs in the caller's task. When the core ends, it cancels all calls: what they wait for
    will never come.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self.over = False
        self._calls: set[trio.CancelScope] = set()

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call, or a part of one. Raises AshError if the core ends while it waits."""
        with trio.CancelScope() as scope:
            self._calls.add(scope)
            if self.over:
                scope.cancel()
            try:
                yield
            finally:
                self._calls.remove(scope)
        if scope.cancelled_caught:
            raise AshError("This Ash was closed during the call")

    def end(self) -> None:
        self.over = True
        for scope in self._calls:
            scope.cancel()


@asynccontextmanager
async def open_below_script(settings: Settings) -> AsyncIterator[OpenCore]:
    """The core. It is wound down when the block is left, also when the block is cancelled.

    Calls end once the turns have ended and before the sandboxes do, and when the core breaks.
    An error of the block comes out unchanged. Raises StartError.
    """
    if not trio.lowlevel.in_trio_run():
        raise StartError("ash runs on trio: start the script with trio.run(main)")
    with owned(absolute(settings.data_dir), f"A program that embeds ash (pid {os.getpid()})"):
        async with _in_own_task(settings) as opened:
            yield opened


@asynccontextmanager
async def _in_own_task(settings: Settings) -> AsyncIterator[OpenCore]:
    """A task of its own lets a cancelled script end at once, and its turns end in their grace."""
    leaving = trio.Event()
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            opened = await nursery.start(_run_core, settings, leaving)
            try:
                yield opened
            except BaseException as error:  # noqa: BLE001 - raised again, outside of the nursery
                failure = error
            finally:
                leaving.set()
    except BaseExceptionGroup as group:
        # The core broke. If the block was cancelled, this is why.
        failure = _alone(group)
    if failure is not None:
        raise failure


def _alone(error: BaseException) -> BaseException:
    """The error out of its groups, if it is the only one in them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _run_core(
    settings: Settings, leaving: trio.Event, *, task_status: trio.TaskStatus[OpenCore]
) -> None:
    """Once started it is shielded: it ends when `leaving` is set, and in no other way."""
    with trio.CancelScope() as scope:
        async with open_core(settings, systemd=False) as core:
            for missing in core.missing:
                warnings.warn(f"ash: {missing}", RuntimeWarning, stacklevel=1)
            scope.shield = True
            opened = OpenCore(core)
            task_status.started(opened)
            try:
                await leaving.wait()
                await core.wind_down()
            finally:
                opened.end()
