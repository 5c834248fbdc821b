"""What ash keeps: one repository over one small driver seam.

Reads that a client can reach take the tenant: what belongs to another is not found. A write
returns when it is committed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from ash.store.agents import AgentRepository, KeyRepository
from ash.store.driver import Driver, OwnershipLost, StoreClosed
from ash.store.history import FrameRepository
from ash.store.sandboxes import LogRepository, RecoveryRepository, SandboxRepository
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
    """Knows what there is to keep and nothing of the database: that is the driver's."""


@asynccontextmanager
async def open_store(path: Path) -> AsyncIterator[Store]:
    """The store in this file, made if it is not there. Raises StartError, in one line.

    The writer works until the block is left, even when the block is cancelled: its last writes,
    made in a shielded scope, are still committed. What the block raises comes out as it is,
    not in a group.
    """
    driver = await trio.to_thread.run_sync(SqliteDriver, path)
    failure: BaseException | None = None
    async with trio.open_nursery() as nursery:
        writing = trio.CancelScope(shield=True)
        nursery.start_soon(_write, driver, writing)
        try:
            yield Store(driver)
        except BaseException as error:  # noqa: BLE001 - raised again, outside of the nursery
            failure = error
        finally:
            writing.cancel()
    if failure is not None:
        raise failure


async def _write(driver: Driver, scope: trio.CancelScope) -> None:
    with scope:
        await driver.run()
