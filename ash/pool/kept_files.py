"""What is done with the files of a sandbox that need not be live."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from ash.limits import Limits
from ash.limits.disk_limit import check_kept, is_over
from ash.workspaces.workspaces import Workspaces


async def check_kept_files(workspaces: Workspaces, sandbox_id: str, limits: Limits) -> None:
    """Raises InsufficientStorage if they are over these limits."""

    def check() -> None:
        check_kept(workspaces.folders(sandbox_id), limits.disk_mb)

    await trio.to_thread.run_sync(check)


async def drop_files(workspaces: Workspaces, sandbox_id: str, over: Limits | None) -> None:
    """See `Pool.drop_files`."""

    def drop() -> None:
        if over is None or is_over(workspaces.folders(sandbox_id), over.disk_mb):
            workspaces.drop(sandbox_id)
            workspaces.discard(sandbox_id)

    await trio.to_thread.run_sync(drop)


@asynccontextmanager
async def forked_files(
    workspaces: Workspaces, sandbox_id: str, fork_id: str
) -> AsyncIterator[None]:
    """See `Pool.forked_files`."""
    try:
        await trio.to_thread.run_sync(workspaces.fork, sandbox_id, fork_id)
        yield
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(workspaces.drop, fork_id)
        raise
