"""Makes sessions active again that are not."""

import trio

from ash.clock import now_iso
from ash.lifecycle import CHANGES, refusal
from ash.model import Session, StoredSession
from ash.sandbox.sandbox import Sandbox
from ash.sessions import session_spec
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.live_session import LiveSession
from ash.sessions.live_sessions import LiveSessions


class Resumer:
    """One wakes a session, who comes meanwhile waits for that."""

    def __init__(self, dependencies: SessionDependencies, live_sessions: LiveSessions) -> None:
        self._dependencies = dependencies
        self._live_sessions = live_sessions
        self._resuming: dict[str, trio.Event] = {}

    async def resume(self, tenant: str, session_id: str) -> Session:
        """See `Sessions.resume`."""
        while True:
            stored = await self._dependencies.found(tenant, session_id)
            live = self._live_sessions.get(session_id)
            resuming = self._resuming.get(session_id)
            if live is None and resuming is not None:
                await resuming.wait()
            elif live is None:
                if stored.session.status not in CHANGES["wake"].sources:
                    raise refusal("resume", stored.session.status)
                live = await self._resume_cold(stored)
                await live.started()
                return live.stored.session
            elif await live.resume():
                return live.stored.session
            else:
                await live.ended()

    async def _resume_cold(self, stored: StoredSession) -> LiveSession:
        resuming = self._resuming[stored.session.id] = trio.Event()
        try:
            return await self._claim_again(stored)
        finally:
            del self._resuming[stored.session.id]
            resuming.set()

    async def _claim_again(self, stored: StoredSession) -> LiveSession:
        """A new sandbox with what was kept of the last one."""
        dependencies, session = self._dependencies, stored.session
        agent = await dependencies.agent_of(session)
        spec = session_spec.sandbox_spec(
            dependencies.rules, agent, session_spec.asked_limits(stored), restore=True
        )
        sandbox = await dependencies.pool.claim_again(session.id, spec)
        mine = await self._take_ownership(session, sandbox)
        if mine is None:
            now = await dependencies.known(session.tenant_id, session.id)
            raise refusal("resume", now.session.status)
        return self._live_sessions.bring_up(mine, sandbox, session_spec.resuming(agent, mine))

    async def _take_ownership(self, session: Session, sandbox: Sandbox) -> StoredSession | None:
        """Makes it ours, with a new generation; None, and no box, if another was faster."""
        mine: StoredSession | None = None
        try:
            # What was committed has to be known here: a box without its session would stay.
            with trio.CancelScope(shield=True):
                mine = await self._dependencies.store.change_session(
                    session.id,
                    CHANGES["wake"],
                    now_iso(self._dependencies.clock),
                    new_generation=True,
                )
        finally:
            if mine is None:
                self._dependencies.pool.release(sandbox)
        return mine
