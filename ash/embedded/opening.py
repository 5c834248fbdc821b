"""The tree of a script: how it begins and, whatever becomes of the script, ends."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from ash.config import Settings
from ash.core import Core, open_core
from ash.data_dir import owned
from ash.errors import StartError


@asynccontextmanager
async def opened(settings: Settings, at_end: Callable[[], None]) -> AsyncIterator[Core]:
    """The tree, wound down when the block is left, also when it is cancelled.

    `at_end` is called once the turns have ended, before the sandboxes do, and when the tree
    breaks. What the block raises comes out as it is. Raises StartError.
    """
    if not trio.lowlevel.in_trio_run():
        raise StartError("ash runs on trio: start the script with trio.run(main)")
    with owned(settings.data_dir.absolute(), f"A program that embeds ash (pid {os.getpid()})"):
        async with _below_us(settings, at_end) as core:
            yield core


@asynccontextmanager
async def _below_us(settings: Settings, at_end: Callable[[], None]) -> AsyncIterator[Core]:
    """In a task of its own: a cancelled script is to end at once, its turns are not."""
    leaving = trio.Event()
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            core = await nursery.start(_live, settings, leaving, at_end)
            try:
                yield core
            except BaseException as error:  # noqa: BLE001 - raised again, outside of the nursery
                failure = error
            finally:
                leaving.set()
    except BaseExceptionGroup as group:
        # The tree broke: that is why the block was cancelled, if it was.
        failure = _alone(group)
    if failure is not None:
        raise failure


def _alone(error: BaseException) -> BaseException:
    """Out of its groups, if there is no other in them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


async def _live(
    settings: Settings,
    leaving: trio.Event,
    at_end: Callable[[], None],
    *,
    task_status: trio.TaskStatus[Core],
) -> None:
    """Once it has started it ends when `leaving` is set, and in no other way."""
    with trio.CancelScope() as scope:
        async with open_core(settings, systemd=False) as core:
            scope.shield = True
            task_status.started(core)
            try:
                await leaving.wait()
                await core.wind_down()
            finally:
                at_end()
