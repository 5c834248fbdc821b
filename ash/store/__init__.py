"""The store of everything that must survive a restart, except for files.

Reads for a client take the tenant, and don't find what belongs to another. A write returns when
it is committed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ash.store.agents import AgentRepository, KeyRepository
from ash.store.driver import Driver, OwnershipLost, StoreClosed
from ash.store.frames import FrameRepository
from ash.store.recovery import RecoveryRepository
from ash.store.sandboxes import LogRepository, SandboxRepository
from ash.store.sqlite import SqliteDriver

__all__ = ["OwnershipLost", "Store", "StoreClosed", "open_store"]


class Store(
    AgentRepository,
    RecoveryRepository,
    FrameRepository,
    SandboxRepository,
    LogRepository,
    KeyRepository,
):
    """All repositories together. Only the driver knows the database."""


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Store]:
    """Opens the store in this file, which is made if it does not exist. Raises StartError.

    The writer runs until the block is left, also if the block is cancelled, so that last writes
    in a shielded scope are still committed. An error of the block is raised as it is, not in an
    exception group.
    """
    driver = await trio.to_thread.run_sync(SqliteDriver, path)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        writing = trio.CancelScope(shield=True)
        nursery.start_soon(_write, driver, writing)
        try:
            yield Store(driver)
        except BaseException as error:  # noqa: BLE001 - raised below; the nursery would wrap it in a group
            failure = error
        finally:
            writing.cancel()
    if failure is not None:
        raise failure


async def _write(driver: Driver, scope: trio.CancelScope) -> None:
    with scope:
        await driver.run()
