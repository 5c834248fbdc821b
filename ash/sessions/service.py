"""What can be done with sessions. HTTP routes and embedded scripts both call this."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import trio

from ash import events
from ash.agents import agent_config
from ash.clock import now_iso
from ash.errors import NotFound
from ash.lifecycle import CHANGES, not_active, refusal
from ash.model import (
    EventType,
    LogLine,
    Message,
    Session,
    SessionEvent,
    SessionStatus,
    StoredAgent,
)
from ash.protocol import Exec, ExecResult, Open, Query
from ash.sessions import session_spec
from ash.sessions.admission import Overtaken
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.forking import fork
from ash.sessions.frame_ring import FrameRing
from ash.sessions.live_session import LiveSession
from ash.sessions.live_sessions import LiveSessions, LiveSessionsStatistics, Resumer
from ash.sessions.session_entry import WhenBusy
from ash.sessions.session_spec import NewSession
from ash.sessions.turn import Turn
from ash.sessions.watch import Watch
from ash.store.history import is_cut

# Whether a message resumes its session if that is not active.
Resuming = Literal["no", "auto"]


class Sessions:
    """The sessions of all tenants. Live sessions run as tasks of the nursery that it is given."""

    def __init__(self, dependencies: SessionDependencies, nursery: trio.Nursery) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._live_sessions = LiveSessions(dependencies, nursery)
        self._resumer = Resumer(dependencies, self._live_sessions)

    def statistics(self) -> LiveSessionsStatistics:
        return self._live_sessions.statistics()

    async def create(self, tenant: str, wanted: NewSession) -> Session:
        """Takes a warm sandbox or boots one; returns the session when it is active.

        Raises NotFound if there is no such agent, Unavailable if there is no room, EngineFailed if
        the engine does not start. In that case the session stays, as `error`, with its log. If the
        caller is cancelled after the session was stored, the session goes on.
        """
        agent = await self._store.agent(tenant, wanted.agent)
        if agent is None:
            raise NotFound(f'There is no agent "{wanted.agent}"')
        self.keep_warm(agent)
        dependencies = self._dependencies
        sandbox = await dependencies.pool.claim(
            session_spec.sandbox_spec(dependencies.rules, agent, wanted.options.limits)
        )
        stored = session_spec.new_session(
            sandbox.id,
            agent,
            wanted,
            mode=dependencies.rules.permission_mode,
            owner=dependencies.owner,
            now=now_iso(dependencies.clock),
        )
        try:
            # Not cancelled: a write is committed all the same, and then the sandbox has a session.
            with trio.CancelScope(shield=True):
                await self._store.create_session(stored)
        except BaseException:
            dependencies.pool.release(sandbox)
            raise
        opening = session_spec.opening(agent, stored)
        live = self._live_sessions.bring_up(stored, sandbox, opening, events.lifecycle("created"))
        await live.started()
        return live.stored.session

    def keep_warm(self, agent: StoredAgent) -> None:
        """Keeps sandboxes of the agent's latest version booted, as many as its config says."""
        rules, config = self._dependencies.rules, agent_config(agent)
        settings = Open(
            session_id="",
            model=agent.agent.model or None,
            permission_mode=rules.permission_mode,
            preset=config.preset,
        )
        count = rules.pre_warm if config.pre_warm_count is None else config.pre_warm_count
        self._dependencies.pool.keep_warm(session_spec.sandbox_spec(rules, agent), settings, count)

    async def get(self, tenant: str, session_id: str) -> Session:
        if live := self._live_sessions.get(session_id):
            await live.settled()
        return (await self._dependencies.known(tenant, session_id)).session

    async def find(
        self,
        tenant: str,
        *,
        agent: str | None,
        status: SessionStatus | None,
        limit: int,
        offset: int,
    ) -> tuple[list[Session], int]:
        """A page, newest first, and how many there are in all."""
        return await self._store.sessions(
            tenant, agent=agent, status=status, limit=limit, offset=offset
        )

    async def send(
        self,
        tenant: str,
        session_id: str,
        query: Query,
        when_busy: WhenBusy = "refuse",
        *,
        resume: Resuming | None = None,
    ) -> tuple[Turn, FrameRing]:
        """Starts a turn; returns when the user's message is stored.

        Raises NotFound, BadRequest if the session is not active, Conflict if a turn runs. If
        `resume` or the server's rules say so, it first resumes a session that is not active, and
        raises what `Sessions.resume` raises.
        """
        auto_resume = resume == "auto" or (resume is None and self._dependencies.rules.auto_resume)
        while True:
            if auto_resume:
                await self.resume(tenant, session_id)
            live = await self._active(tenant, session_id)
            async with live.entry(when_busy):
                # It may have been paused or stopped, or have died, while this message waited.
                if auto_resume and not live.is_up:
                    continue
                session_spec.fill_in(query, live.stored.session)
                turn = live.start_turn(query)
            try:
                await turn.accepted()
            except Overtaken:
                if when_busy == "refuse":
                    raise
            else:
                return turn, live.ring

    @asynccontextmanager
    async def watch(self, tenant: str, session_id: str, after: int | None) -> AsyncIterator[Watch]:
        """Gives the session's frames after the id `after`, or from the start of the running turn.

        Raises NotFound.
        """
        stored = await self._dependencies.known(tenant, session_id)
        with self._live_sessions.rings.to_watch(session_id, stored.next_frame) as ring:
            # Read again, because it may have ended just before we held its ring.
            if (await self.get(tenant, session_id)).status == "ended":
                ring.end()
            if after is None:
                live = self._live_sessions.get(session_id)
                start = live.turn.first_frame if live and live.turn else ring.next_id
            else:
                start = after + 1
            yield Watch(self._store, tenant, session_id, ring, start)

    async def exec(self, tenant: str, session_id: str, command: Exec) -> ExecResult:
        """Runs a shell command in the workspace, also while a turn runs.

        A caller that is cancelled does not end the command. Raises NotFound, BadRequest if the
        session is not active, EngineFailed if the sandbox could not run the command or ended.
        """
        live = await self._active(tenant, session_id)
        return await live.exec(command)

    async def interrupt(self, tenant: str, session_id: str) -> bool:
        """Ends the running turn and keeps the session. Returns whether it has ended a turn.

        Returns when the turn has ended, which may also complete first. Raises NotFound,
        BadRequest if it is not active.
        """
        live = await self._active(tenant, session_id)
        if (turn := live.turn) is None:
            return False
        await turn.stop("interrupted")
        return turn.reason == "interrupted"

    async def pause(self, tenant: str, session_id: str) -> Session:
        """Stops the running turn; the sandbox stays as long as there is room for it."""
        stored = await self._dependencies.known(tenant, session_id)
        live = self._live_sessions.get(session_id)
        if live is None or stored.session.status != "active":
            raise refusal("pause", stored.session.status)
        await live.pause()
        return await self.get(tenant, session_id)

    async def stop(self, tenant: str, session_id: str) -> Session:
        """Stops the running turn and ends the sandbox. Its files are kept."""
        stored = await self._dependencies.known(tenant, session_id)
        live = self._live_sessions.get(session_id)
        if live is None or stored.session.status not in CHANGES["stop"].sources:
            raise refusal("stop", stored.session.status)
        won = await self._live_sessions.close(live, "stop")
        session = await self.get(tenant, session_id)
        if not won or session.status != "stopped":
            raise refusal("stop", session.status)
        return session

    async def resume(self, tenant: str, session_id: str) -> Session:
        """Makes the session active. A session that is active already stays as it is.

        That is immediate if the session still has its sandbox. Otherwise a new one is booted with
        its files and its conversation.

        Raises Gone if the session has ended, Unavailable if there is no room, EngineFailed.
        """
        return await self._resumer.resume(tenant, session_id)

    async def fork(
        self,
        tenant: str,
        session_id: str,
        after: int | None = None,
        when_busy: WhenBusy = "refuse",
    ) -> Session:
        """A session with the parent's files and its conversation up to the last finished turn.

        With `after`, the conversation goes up to the message with that sequence. The fork is
        paused, and the parent stays as it is. A running turn may have changed files, so
        `when_busy` says whether to wait for its end or to end it. Raises BadRequest if there is
        no such message, NotFound if the files are gone, Unavailable if the cloud does not give
        them.
        """
        parent = await self._dependencies.found(tenant, session_id)
        live = self._live_sessions.get(session_id)
        if live is None:
            return await fork(self._dependencies, parent, None, after)
        async with live.entry(when_busy):
            return await fork(self._dependencies, parent, live, after)

    async def configure(self, tenant: str, session_id: str, changes: Mapping[str, Any]) -> Session:
        """Changes these options from the next message on. None takes an option back.

        Raises Gone if the session has ended.
        """
        stored = await self._dependencies.known(tenant, session_id)
        if stored.session.status == "ended":
            raise refusal("configure", "ended")
        model, config = session_spec.configured(stored.session, changes)
        await self._store.configure_session(session_id, model=model, config=config)
        if live := self._live_sessions.get(session_id):
            await live.configured()
        return await self.get(tenant, session_id)

    async def end(self, tenant: str, session_id: str, *, keep_files: bool = True) -> Session:
        """Ends the running turn, then the session for good. Safe to repeat.

        Its files are kept to be read, unless they are over its disk limit.
        """
        stored = await self._dependencies.known(tenant, session_id)
        if live := self._live_sessions.get(session_id):
            await self._live_sessions.close(live, "end")
        event = events.lifecycle("ended")
        now = now_iso(self._dependencies.clock)
        await self._store.change_session(session_id, CHANGES["end"], now, event=event)
        await self._store.shorten_logs(session_id)
        self._live_sessions.rings.end(session_id)
        pool = self._dependencies.pool
        limits = await self._dependencies.limits_of(stored) if keep_files else None
        await pool.drop_files(session_id, over=limits)
        session = await self.get(tenant, session_id)
        if self._dependencies.snapshots is not None:
            self._dependencies.snapshots.session_changed(session)
        return session

    async def messages(
        self, tenant: str, session_id: str, *, after: int, limit: int
    ) -> list[Message]:
        """All of them together, however large they are."""
        found: list[Message] = []
        page = await self.message_page(tenant, session_id, after=after, limit=limit)
        found += page
        while is_cut(page) and len(found) < limit:
            after, left = page[-1].sequence, limit - len(found)
            page = await self.message_page(tenant, session_id, after=after, limit=left)
            found += page
        return found

    async def message_page(
        self, tenant: str, session_id: str, *, after: int, limit: int
    ) -> list[Message]:
        """The first of them, some megabytes in all. Raises NotFound."""
        await self._dependencies.known(tenant, session_id)
        return await self._store.messages(tenant, session_id, after=after, limit=limit)

    async def events(
        self, tenant: str, session_id: str, *, after: int, limit: int, kind: EventType | None
    ) -> list[SessionEvent]:
        await self._dependencies.known(tenant, session_id)
        return await self._store.events(tenant, session_id, after=after, limit=limit, kind=kind)

    async def logs(self, tenant: str, session_id: str, *, after: int) -> tuple[list[LogLine], str]:
        """The log lines, and "sandbox" if the session has one now, else "snapshot"."""
        await self._dependencies.known(tenant, session_id)
        source = "sandbox" if self._live_sessions.get(session_id) else "snapshot"
        return await self._store.logs(tenant, session_id, after=after), source

    async def sweep(self) -> None:
        """Pauses sessions that have been idle for too long; runs until cancelled."""
        await self._live_sessions.sweep(self._dependencies.rules.idle_timeout)

    async def shut_down(self, grace: float) -> None:
        """Takes no more sessions; ends turns as `shutdown` and pauses what is active."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._dependencies.pool.close)
            await self._live_sessions.shut_down(grace)

    async def _active(self, tenant: str, session_id: str) -> LiveSession:
        live = self._live_sessions.get(session_id)
        if live is not None:
            await live.settled()
        if live is None or live.stored.session.tenant_id != tenant:
            raise not_active((await self.get(tenant, session_id)).status)
        if live.stored.session.status != "active":
            raise not_active(live.stored.session.status)
        return live
