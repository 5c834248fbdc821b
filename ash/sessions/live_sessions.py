"""The sessions that live in this daemon."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import trio
from msgspec import Struct, structs

from ash.clock import now_iso
from ash.lifecycle import CHANGES, Action, refusal
from ash.model import Session, StoredSession
from ash.sandbox.sandbox import EngineLaunch, Sandbox
from ash.sessions import session_spec
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.frame_ring import FrameRings
from ash.sessions.large_frames import LargeFrames
from ash.sessions.live_session import LiveSession, LiveSessionStatistics
from ash.sessions.remembered import last_stored
from ash.sessions.session_sandbox import Work

AGENT_GONE = "the agent was deleted, and with it its env and config: only the model can be reached"


class LiveSessionsStatistics(Struct, frozen=True):
    """The sessions that live here, by their ids."""

    sessions: dict[str, LiveSessionStatistics]


class LiveSessions:
    """Runs each live session as a task of `nursery`."""

    def __init__(self, dependencies: SessionDependencies, nursery: trio.Nursery) -> None:
        self.rings = FrameRings(LargeFrames(dependencies.large_lines))
        self._dependencies = dependencies
        self._nursery = nursery
        self._live: dict[str, LiveSession] = {}

    def __iter__(self) -> Iterator[LiveSession]:
        return iter(list(self._live.values()))

    def statistics(self) -> LiveSessionsStatistics:
        return LiveSessionsStatistics(
            {session_id: live.statistics() for session_id, live in self._live.items()}
        )

    def get(self, session_id: str) -> LiveSession | None:
        return self._live.get(session_id)

    def bring_up(
        self,
        stored: StoredSession,
        sandbox: Sandbox,
        settings: EngineLaunch,
        event: str | None = None,
    ) -> LiveSession:
        """Starts a session in a claimed sandbox. For `event` see `LiveSession.run`."""
        held = ExitStack()
        ring = held.enter_context(self.rings.to_publish(sandbox.id, stored.next_frame))
        live = self._live[sandbox.id] = LiveSession(self._dependencies, stored, sandbox, ring)
        boot = partial(self._dependencies.pool.boot, sandbox, settings)
        self._nursery.start_soon(self._run, live, held, boot, settings, event)
        return live

    async def close(self, live: LiveSession, action: Action) -> bool:
        """Ends the live session, and returns when it is gone. False if another action was first.

        A caller that is cancelled does not stop it. Raises Unavailable.
        """
        won = live.decide(action)
        self._nursery.start_soon(live.wind_up, "stopped")
        await live.ended()
        return won

    async def sweep(self, timeout: float) -> None:
        """Evicts sessions that have been idle for `timeout` seconds; runs until cancelled."""
        while timeout:
            await trio.sleep(timeout / 10)
            for live in self:
                since = live.idle_since()
                if since is not None and trio.current_time() - since >= timeout:
                    self._nursery.start_soon(live.evict, "idle")

    async def shut_down(self, grace: float) -> None:
        """Ends turns as `shutdown` and pauses what is active.

        Agents that do not stop are killed after two thirds of `grace` seconds, so that their
        clients are told in the last third.
        """
        async with trio.open_nursery() as nursery:
            for live in self:
                # One that is still starting can't be paused.
                action: Action = "stop" if live.stored.session.status == "starting" else "pause"
                nursery.start_soon(
                    partial(live.close, action, "shutdown", step=grace / 3, reason="shutdown")
                )
        self.rings.shut()

    async def _run(
        self,
        live: LiveSession,
        held: ExitStack,
        boot: Work,
        settings: EngineLaunch,
        event: str | None,
    ) -> None:
        """The task of one live session."""
        with held:
            try:
                await live.run(boot, settings, event)
            finally:
                del self._live[live.stored.session.id]


class Resumer:
    """Makes sessions active again. Concurrent callers share one resume."""

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
                return _with_recoveries(live)
            elif await live.resume():
                return _with_recoveries(live)
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
        """Starts the session in a new sandbox, with the files that were kept of the last one."""
        dependencies, session = self._dependencies, stored.session
        agent = await dependencies.agent_of(stored)
        spec = session_spec.sandbox_spec(
            dependencies.rules, agent, stored.settings.limits, restore=True
        )
        said = await last_stored(dependencies.store, session.id)
        sandbox = await dependencies.pool.claim_again(session.id, spec)
        if not agent.agent.id:
            await sandbox.log([("system", AGENT_GONE)])
        mine = await self._take_ownership(session, sandbox)
        if mine is None:
            now = await dependencies.known(session.tenant_id, session.id)
            raise refusal("resume", now.session.status)
        settings = session_spec.resuming(agent, mine, said)
        return self._live_sessions.bring_up(mine, sandbox, settings)

    async def _take_ownership(self, session: Session, sandbox: Sandbox) -> StoredSession | None:
        """Takes the session over, with a new generation.

        If another caller was faster it returns None and releases the sandbox.
        """
        mine: StoredSession | None = None
        try:
            # Not cancelled: if the change is committed, the sandbox must get its session.
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


def _with_recoveries(live: LiveSession) -> Session:
    """The session, with what had to be mended since its last turn."""
    return structs.replace(live.stored.session, **live.recoveries.summary())
