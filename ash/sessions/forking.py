"""Makes a session that continues another one's conversation, with a copy of its files."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ash import events
from ash.clock import now_iso
from ash.errors import BadRequest
from ash.model import Session, StoredSession
from ash.sessions import session_spec
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.live_session import LiveSession
from ash.sessions.remembered import last_said


async def fork(
    dependencies: SessionDependencies,
    parent: StoredSession,
    live: LiveSession | None,
    after: int | None,
) -> Session:
    """See `Sessions.fork`. `live` is the parent, if it is live in this daemon."""
    upto, is_all = await _taken(dependencies, parent, after)
    whole = is_all and (live is None or live.turn is None)
    said = await last_said(dependencies.store, parent.session.id, upto + 1)
    made = session_spec.forked(
        parent, said, whole=whole, owner=dependencies.owner, now=now_iso(dependencies.clock)
    )
    event = events.lifecycle("forked", **{"from": parent.session.id})
    async with _files(dependencies, parent, live, made.session.id):
        await dependencies.store.fork_session(made, parent.session.id, upto, event)
    return made.session


async def _taken(
    dependencies: SessionDependencies, parent: StoredSession, after: int | None
) -> tuple[int, bool]:
    """Up to which message the fork takes over, and whether that is all of the finished turns."""
    session = parent.session
    finished = await dependencies.store.finished_up_to(session.id)
    upto = finished if after is None else after
    if upto > finished:
        raise BadRequest(f"afterSequence: the last finished message is {finished}, not {upto}")
    return upto, upto == finished


@asynccontextmanager
async def _files(
    dependencies: SessionDependencies,
    parent: StoredSession,
    live: LiveSession | None,
    fork_id: str,
) -> AsyncIterator[None]:
    """Copies the parent's files for the fork. They are removed again if the block fails."""
    if live is None and dependencies.snapshots is not None:
        await dependencies.snapshots.bring_session(parent.session.tenant_id, parent.session.id)
    await dependencies.pool.check_files(parent.session.id, await dependencies.limits_of(parent))
    async with dependencies.pool.forked_files(parent.session.id, fork_id):
        yield
