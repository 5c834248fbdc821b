"""What an earlier process left when it was killed, put right before anything runs."""

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

# What is whole but nobody's may be what an older copy of the database does not know yet: there
# is time to see it, a week.
KEEP_SECONDS = 7 * 86_400.0


async def recover(store: Store, data_dir: Path, owner: str, clock: Clock) -> None:
    """Ends what claims to run, puts away its files, and removes what nobody can use any more."""
    workspaces = Workspaces(data_dir)
    await _put_away(store, workspaces)
    for session in await store.recover(owner, now_iso(clock)):
        log.warning("session.recovered", session=session.id, status=session.status)
    await store.settle_sandboxes(owner, now_iso(clock))
    oldest = clock.now() - KEEP_SECONDS
    await _clean_sessions(store, workspaces, oldest)
    agents = await store.all_agents()
    await trio.to_thread.run_sync(_clean, data_dir, agents, oldest)


async def _put_away(store: Store, workspaces: Workspaces) -> None:
    for sandbox in await trio.to_thread.run_sync(workspaces.left):
        known = await store.session_by_id(sandbox) is not None
        await trio.to_thread.run_sync(partial(workspaces.put_away, sandbox, claimed=known))


async def _clean_sessions(store: Store, workspaces: Workspaces, oldest: float) -> None:
    """Forks that were cut off, and folders that no session has had for long."""
    unknown = 0
    for name in await trio.to_thread.run_sync(workspaces.kept):
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


def _clean(data_dir: Path, agents: list[StoredAgent], oldest: float) -> None:
    """Copies that no agent runs from, what was being packed, keys that were being written."""
    remove_tree(data_dir / TRANSFERS)
    for name in (INITIAL_KEY_FILE, SECRET_FILE):
        for half in data_dir.glob(f".{name}.*"):
            half.unlink(missing_ok=True)
    in_use = {agent_folder(data_dir, a.agent.tenant_id, a.agent.name): a.source for a in agents}
    for folder in _folders(data_dir / AGENTS):
        for agent in _folders(folder):
            _clean_agent(agent, in_use.get(agent), oldest)


def _clean_agent(folder: Path, source: str | None, oldest: float) -> None:
    """`source` is the copy in use; where that is not there, the others may be all there is."""
    whole = source is not None and Path(source).is_dir()
    for copy in _folders(folder):
        if str(copy) != source and (whole or copy.stat().st_mtime < oldest):
            remove_tree(copy)
    with suppress(OSError):  # it has copies
        folder.rmdir()


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else iter(())
