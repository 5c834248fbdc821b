"""All cages of a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import trio

from ash.log import get_logger
from ash.sandbox.limits.amounts import Limits
from ash.sandbox.limits.cage import Cage, make
from ash.sandbox.limits.detect import Ground, detect
from ash.sandbox.limits.drivers import Part
from ash.sandbox.limits.leftovers import Estate, sweep_leftovers

log = get_logger()


class Cages:
    """Made by `open_cages`. `name` and `missing` say what the limits are worth here."""

    def __init__(self, ground: Ground, folders: dict[Part, Path]) -> None:
        self.name = ground.name
        self.missing = ground.missing
        self._driver = ground.driver
        self._folders = folders
        self._ids = count(1)

    @asynccontextmanager
    async def open(self, limits: Limits) -> AsyncIterator[Cage]:
        """A cage for as long as the context lasts; then everything in it is dead.

        Raises OSError if the kernel gives no more of them.
        """
        name = str(next(self._ids))
        folders = {part: folder / name for part, folder in self._folders.items()}
        with trio.CancelScope(shield=True):
            cage = await trio.to_thread.run_sync(make, self._driver, folders, limits)
        try:
            yield cage
        finally:
            cage.kill()
            with trio.CancelScope(shield=True):
                if not await cage.remove():
                    log.error("cage.left", cage=name, processes=sorted(cage.processes()))


@asynccontextmanager
async def open_cages(
    data_dir: Path, ground: Ground | None = None, *, systemd: bool = True
) -> AsyncIterator[Cages]:
    """The daemon's cages, after what an earlier one left is dead and removed.

    `data_dir` exists and is locked by the caller; without `systemd` that is asked for nothing.
    Raises OSError if there is no room for them.
    """
    if ground is None:
        ground = await trio.to_thread.run_sync(partial(detect, systemd=systemd))
    for folder in await trio.to_thread.run_sync(sweep_leftovers, ground, data_dir):
        log.warning("cages.swept", folder=str(folder))
    estate = await trio.to_thread.run_sync(Estate, ground, data_dir)
    try:
        yield Cages(ground, estate.folders)
    finally:
        with trio.CancelScope(shield=True):
            if not await trio.to_thread.run_sync(estate.leave):
                log.error("cages.left", folders=sorted({str(f) for f in estate.folders.values()}))
