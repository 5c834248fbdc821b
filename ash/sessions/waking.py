"""Makes sessions active again that are not."""

import trio

from ash.clock import now_iso
from ash.lifecycle import CHANGES, refusal
from ash.model import Session, StoredSession
from ash.sandbox.sandbox import Sandbox
from ash.sessions import recipe
from ash.sessions.house import House
from ash.sessions.live import Live
from ash.sessions.roster import Roster


class Waking:
    """One wakes a session, who comes meanwhile waits for that."""

    def __init__(self, house: House, roster: Roster) -> None:
        self._house = house
        self._roster = roster
        self._waking: dict[str, trio.Event] = {}

    async def resume(self, tenant: str, session_id: str) -> Session:
        """See `Sessions.resume`."""
        while True:
            stored = await self._house.found(tenant, session_id)
            live = self._roster.get(session_id)
            waking = self._waking.get(session_id)
            if live is None and waking is not None:
                await waking.wait()
            elif live is None:
                if stored.session.status not in CHANGES["wake"].sources:
                    raise refusal("resume", stored.session.status)
                live = await self._wake(stored)
                await live.started()
                return live.stored.session
            elif await live.resume():
                return live.stored.session
            else:
                await live.ended()

    async def _wake(self, stored: StoredSession) -> Live:
        waking = self._waking[stored.session.id] = trio.Event()
        try:
            return await self._claim_again(stored)
        finally:
            del self._waking[stored.session.id]
            waking.set()

    async def _claim_again(self, stored: StoredSession) -> Live:
        """A new sandbox with what was kept of the last one."""
        house, session = self._house, stored.session
        agent = await house.agent_of(session)
        spec = recipe.sandbox_spec(house.rules, agent, recipe.asked_limits(stored), restore=True)
        sandbox = await house.pool.claim_again(session.id, spec)
        mine = await self._take(session, sandbox)
        if mine is None:
            now = await house.known(session.tenant_id, session.id)
            raise refusal("resume", now.session.status)
        return self._roster.bring_up(mine, sandbox, recipe.resuming(agent, mine))

    async def _take(self, session: Session, sandbox: Sandbox) -> StoredSession | None:
        """Makes it ours, with a new generation; None, and no box, if another was faster."""
        mine: StoredSession | None = None
        try:
            # What was committed has to be known here: a box without its session would stay.
            with trio.CancelScope(shield=True):
                mine = await self._house.store.change_session(
                    session.id, CHANGES["wake"], now_iso(self._house.clock), new_generation=True
                )
        finally:
            if mine is None:
                self._house.pool.release(sandbox)
        return mine
