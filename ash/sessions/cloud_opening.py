"""Opens the snapshot store that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ash.clock import Clock
from ash.data_dir import TRANSFERS
from ash.errors import StartError
from ash.sessions.cloud import SessionSnapshots
from ash.store import Store
from ash.workspaces.snapshots.snapshot_store import StoreFailed
from ash.workspaces.snapshots.snapshots import Snapshots


@asynccontextmanager
async def open_session_snapshots(
    url: str | None, store: Store, data_dir: Path, clock: Clock, *, owner: str, disk_mb: int
) -> AsyncIterator[SessionSnapshots | None]:
    """None without a URL. Raises StartError for one that can't be used.

    Whether the store answers is not asked: without it sessions run as well.
    """
    if url is None:
        yield None
        return
    try:
        from ash.workspaces.snapshots import object_store
    except ImportError:
        raise StartError('snapshot_url needs two more packages: install "ash[snapshots]"') from None
    try:
        opened = object_store.connect(url)
    except StoreFailed as error:
        raise StartError(f"snapshot_url: {error}") from None
    async with object_store.running(opened) as opened_store:
        snapshots = Snapshots(opened_store, data_dir / TRANSFERS, clock.now)
        yield SessionSnapshots(
            store, snapshots, data_dir, clock=clock, owner=owner, disk_mb=disk_mb
        )
