"""The resource groups of all sandboxes of a daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import trio

from ash.limits.amounts import Limits
from ash.limits.cgroupfs import Controller
from ash.limits.detect import CgroupSupport, detect
from ash.limits.owned_cgroups import OwnedCgroups, sweep_leftovers
from ash.limits.resource_group import ResourceGroup, make
from ash.log import get_logger

log = get_logger()


class ResourceGroups:
    """Made by `open_resource_groups`. `name` and `missing` say what can be limited here."""

    def __init__(self, support: CgroupSupport, folders: dict[Controller, Path]) -> None:
        self.name = support.name
        self.missing = support.missing
        self._version = support.version
        self._folders = folders
        self._ids = count(1)

    @asynccontextmanager
    async def open(self, limits: Limits) -> AsyncIterator[ResourceGroup]:
        """A group as long as the context lasts; after that, all its processes are dead.

        Raises OSError if the kernel refuses to make another one.
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
                    log.error("group.remove_failed", folders=sorted(map(str, group.folders)))


@asynccontextmanager
async def open_resource_groups(
    data_dir: Path, support: CgroupSupport | None = None, *, systemd: bool = True
) -> AsyncIterator[ResourceGroups]:
    """Removes what an earlier daemon left, then opens the groups of this one.

    `data_dir` has to exist and to be locked by the caller. With `systemd` false, systemd is not
    asked for a scope. Raises OSError if the kernel refuses to make the cgroups.
    """
    if support is None:
        support = await trio.to_thread.run_sync(partial(detect, systemd=systemd))
    for folder in await trio.to_thread.run_sync(sweep_leftovers, support, data_dir):
        log.warning("group.leftover_removed", folder=str(folder))
    owned = await trio.to_thread.run_sync(OwnedCgroups, support, data_dir)
    try:
        yield ResourceGroups(support, owned.folders)
    finally:
        with trio.CancelScope(shield=True):
            if not await trio.to_thread.run_sync(owned.leave):
                log.error(
                    "group.remove_failed", folders=sorted({*map(str, owned.folders.values())})
                )
