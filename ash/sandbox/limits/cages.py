"""All cages of a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import trio

from ash.log import get_logger
from ash.sandbox.limits.amounts import Limits
from ash.sandbox.limits.cage import ResourceGroup, make
from ash.sandbox.limits.detect import CgroupSupport, detect
from ash.sandbox.limits.drivers import Controller
from ash.sandbox.limits.leftovers import OwnedCgroups, sweep_leftovers

log = get_logger()


class ResourceGroups:
    """Made by `open_resource_groups`. `name` and `missing` say what the limits are worth here."""

    def __init__(self, support: CgroupSupport, folders: dict[Controller, Path]) -> None:
        self.name = support.name
        self.missing = support.missing
        self._version = support.version
        self._folders = folders
        self._ids = count(1)

    @asynccontextmanager
    async def open(self, limits: Limits) -> AsyncIterator[ResourceGroup]:
        """A cage for as long as the context lasts; then everything in it is dead.

        Raises OSError if the kernel gives no more of them.
        """
        name = str(next(self._ids))
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        with trio.CancelScope(shield=True):
            group = await trio.to_thread.run_sync(make, self._version, folders, limits)
        try:
            yield group
        finally:
            group.kill()
            with trio.CancelScope(shield=True):
                if not await group.remove():
                    log.error("cage.left", group=name, processes=sorted(group.processes()))


@asynccontextmanager
async def open_resource_groups(
    data_dir: Path, support: CgroupSupport | None = None, *, systemd: bool = True
) -> AsyncIterator[ResourceGroups]:
    """The daemon's cages, after what an earlier one left is dead and removed.

    `data_dir` exists and is locked by the caller; without `systemd` that is asked for nothing.
    Raises OSError if there is no room for them.
    """
    if support is None:
        support = await trio.to_thread.run_sync(partial(detect, systemd=systemd))
    for folder in await trio.to_thread.run_sync(sweep_leftovers, support, data_dir):
        log.warning("cages.swept", folder=str(folder))
    owned = await trio.to_thread.run_sync(OwnedCgroups, support, data_dir)
    try:
        yield ResourceGroups(support, owned.folders)
    finally:
        with trio.CancelScope(shield=True):
            if not await trio.to_thread.run_sync(owned.leave):
                log.error("cages.left", folders=sorted({str(f) for f in owned.folders.values()}))
