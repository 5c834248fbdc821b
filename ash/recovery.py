"""Repairs, before anything runs, what a daemon that was killed has left behind."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import trio

from ash.agents import agent_folder
from ash.authentication import INITIAL_KEY_FILE, SECRET_FILE
from ash.clock import Clock, now_iso
from ash.data_dir import AGENTS, TRANSFERS
from ash.log import get_logger
from ash.model import StoredAgent
from ash.store import Store
from ash.workspaces.copy import remove_tree
from ash.workspaces.workspaces import Workspaces

log = get_logger()

# Complete folders that no session or agent owns are kept for a week: they may be missing only
# because the operator has restored an older copy of the database.
KEEP_SECONDS = 7 * 86_400.0


async def recover(store: Store, data_dir: Path, owner: str, clock: Clock) -> None:
    """Pauses sessions that claim to run, keeps their files, and removes files that are useless."""
    workspaces = Workspaces(data_dir)
    await _put_away(store, workspaces)
    for session in await store.recover(owner, now_iso(clock)):
        log.warning("session.recovered", session=session.id, status=session.status)
    await store.recover_sandboxes(owner, now_iso(clock))
    oldest = clock.now() - KEEP_SECONDS
    await _clean_sessions(store, workspaces, oldest)
    deploys = await store.all_kept_deploys()
    await trio.to_thread.run_sync(_clean, data_dir, deploys, oldest)


async def _put_away(store: Store, workspaces: Workspaces) -> None:
    for sandbox in await trio.to_thread.run_sync(workspaces.live_ids):
        known = await store.session_by_id(sandbox) is not None
        await trio.to_thread.run_sync(partial(workspaces.put_away, sandbox, claimed=known))


async def _clean_sessions(store: Store, workspaces: Workspaces, oldest: float) -> None:
    """Removes incomplete forks, and folders that have belonged to no session for long."""
    unknown = 0
    for name in await trio.to_thread.run_sync(workspaces.kept_ids):
        if await store.session_by_id(name) is not None:
            continue
        if workspaces.kept_since(name) < oldest:
            await trio.to_thread.run_sync(workspaces.drop, name)
        else:
            unknown += 1
    if unknown:
        log.warning(
            "session.unknown_found", folders=unknown, removed_after_days=KEEP_SECONDS / 86_400
        )


def _clean(data_dir: Path, deploys: list[StoredAgent], oldest: float) -> None:
    """Removes unused copies of agents, files that were being packed, and half-written keys."""
    remove_tree(data_dir / TRANSFERS)
    for name in (INITIAL_KEY_FILE, SECRET_FILE):
        for half in data_dir.glob(f".{name}.*"):
            half.unlink(missing_ok=True)
    in_use: defaultdict[Path, set[str]] = defaultdict(set)
    for deploy in deploys:
        agent = deploy.agent
        in_use[agent_folder(data_dir, agent.tenant_id, agent.name)].add(deploy.source)
    for tenant in _folders(data_dir / AGENTS):
        for folder in _folders(tenant):
            _clean_agent(folder, in_use[folder], oldest)


def _clean_agent(folder: Path, in_use: set[str], oldest: float) -> None:
    """Removes all copies but those in use; if one of these is missing, only old ones."""
    whole = bool(in_use) and all(Path(source).is_dir() for source in in_use)
    for copy in _folders(folder):
        if str(copy) not in in_use and (whole or copy.stat().st_mtime < oldest):
            remove_tree(copy)
    with suppress(OSError):  # it is not empty
        folder.rmdir()


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else iter(())
