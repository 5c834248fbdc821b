"""Makes a session that goes on from what another one has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ash import events
from ash.clock import now_iso
from ash.errors import BadRequest
from ash.model import Message, Session, StoredSession
from ash.sessions import recipe
from ash.sessions.house import House
from ash.sessions.live import Live


async def fork(
    house: House, parent: StoredSession, live: Live | None, after: int | None
) -> Session:
    """See `Sessions.fork`; `live` is the parent if it lives here."""
    taken, is_all = await _taken(house, parent, after)
    whole = is_all and (live is None or live.turn is None)
    made = recipe.forked(parent, taken, whole=whole, owner=house.owner, now=now_iso(house.clock))
    event = events.lifecycle("forked", **{"from": parent.session.id})
    async with _files(house, parent.session, live, made.session.id):
        await house.store.fork_session(made, taken, event)
    return made.session


async def _taken(
    house: House, parent: StoredSession, after: int | None
) -> tuple[list[Message], bool]:
    """The messages to begin with, and whether these are all of the finished turns."""
    session = parent.session
    finished = await house.store.finished_up_to(session.id)
    upto = finished if after is None else after
    if upto > finished:
        raise BadRequest(f"afterSequence: the last finished message is {finished}, not {upto}")
    if not upto:
        return [], not finished
    taken = await house.store.messages(session.tenant_id, session.id, limit=upto)
    return taken, upto == finished


@asynccontextmanager
async def _files(
    house: House, parent: Session, live: Live | None, fork_id: str
) -> AsyncIterator[None]:
    """What the parent has; it stays the fork's if the block ends well."""
    if live is None and house.cloud is not None:
        await house.cloud.bring_session(parent.tenant_id, parent.id)
    async with house.pool.forked_files(parent.id, fork_id):
        yield
