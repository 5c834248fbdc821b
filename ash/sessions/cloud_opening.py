"""Opens the snapshot store that the settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ash.clock import Clock
from ash.data_dir import TRANSFERS
from ash.errors import StartError
from ash.sandbox.snapshots.backups import Backups
from ash.sandbox.snapshots.store import StoreFailed
from ash.sessions.cloud import Cloud
from ash.store import Store


@asynccontextmanager
async def open_cloud(
    url: str | None, store: Store, data_dir: Path, clock: Clock, *, owner: str, disk_mb: int
) -> AsyncIterator[Cloud | None]:
    """None without a URL. Raises StartError for one that can't be used.

    Whether the store answers is not asked: without it sessions run as well.
    """
    if url is None:
        yield None
        return
    try:
        from ash.sandbox.snapshots import cloud
    except ImportError:
        raise StartError(
            'snapshot_url needs two more packages: install "ashd[snapshots]"'
        ) from None
    try:
        opened = cloud.connect(url)
    except StoreFailed as error:
        raise StartError(f"snapshot_url: {error}") from None
    async with cloud.running(opened) as snapshots:
        backups = Backups(snapshots, data_dir / TRANSFERS, clock.now)
        yield Cloud(store, backups, data_dir, clock=clock, owner=owner, disk_mb=disk_mb)
