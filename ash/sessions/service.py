"""What can be done with sessions. Routes, the command line and scripts all come through here."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import Any

import trio
from msgspec import UNSET, UnsetType

from ash.agents import agent_config
from ash.clock import now_iso
from ash.errors import BadRequest, NotFound
from ash.lifecycle import CHANGES, Action, not_active, refusal
from ash.model import (
    EventType,
    LogLine,
    Message,
    Session,
    SessionEvent,
    SessionStatus,
    StoredAgent,
    StoredSession,
)
from ash.protocol import Exec, ExecResult, Open, Query
from ash.sandbox.box import Box, Settings
from ash.sandbox.pool import Pool
from ash.sessions import recipe
from ash.sessions.cloud import Cloud
from ash.sessions.live import House, Live, WhenBusy, lifecycle_event
from ash.sessions.recipe import NewSession, Rules
from ash.sessions.stream import Stream
from ash.sessions.streams import Streams
from ash.sessions.turn import Turn
from ash.sessions.watch import Watch


class Sessions:
    """Owns every live session; their watchers are tasks of the nursery it is given."""

    def __init__(
        self,
        house: House,
        pool: Pool,
        nursery: trio.Nursery,
        owner: str,
        rules: Rules,
        *,
        cloud: Cloud | None = None,
    ) -> None:
        """`cloud` has what other daemons left, to be resumed here."""
        self._house = house
        self._store = house.store
        self._pool = pool
        self._nursery = nursery
        self._owner = owner
        self._cloud = cloud
        self._rules = rules
        self._live: dict[str, Live] = {}
        self._waking: dict[str, trio.Event] = {}
        self._streams = Streams()

    async def create(self, tenant: str, wanted: NewSession) -> Session:
        """Takes a warm sandbox or boots one; returns the session when it is active.

        Raises NotFound for the agent, Unavailable when there is no room, EngineFailed when
        the engine does not start: then the session stays as `error`, with its log. A caller
        that is cancelled doesn't cancel the session, once there is one.
        """
        agent = await self._store.agent(tenant, wanted.agent)
        if agent is None:
            raise NotFound(f'There is no agent "{wanted.agent}"')
        self.keep_warm(agent)
        box = await self._pool.claim(recipe.order(self._rules, agent, wanted.limits))
        stored = recipe.new_session(
            box.id,
            agent,
            wanted,
            mode=self._rules.permission_mode,
            owner=self._owner,
            now=now_iso(self._house.clock),
        )
        try:
            # A write is committed whether or not its caller waits: this one has to know.
            with trio.CancelScope(shield=True):
                await self._store.create_session(stored)
        except BaseException:
            self._pool.release(box)
            raise
        live = self._bring_up(
            stored, box, recipe.opening(agent, stored), lifecycle_event("created")
        )
        await live.started()
        return live.stored.session

    def keep_warm(self, agent: StoredAgent) -> None:
        """Keeps sandboxes of the agent's latest version booted, as many as its config says."""
        config = agent_config(agent)
        count = self._rules.pre_warm if config.pre_warm_count is None else config.pre_warm_count
        settings = Open(
            session_id="",
            model=agent.agent.model or None,
            permission_mode=self._rules.permission_mode,
        )
        self._pool.stock(recipe.order(self._rules, agent), settings, count)

    async def get(self, tenant: str, session_id: str) -> Session:
        return (await self._stored(tenant, session_id)).session

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
        resume: bool = False,
    ) -> tuple[Turn, Stream]:
        """Starts a turn; returns when the user's message is stored.

        Raises NotFound, BadRequest if the session is not active, Conflict if a turn runs. With
        `resume` one that is not active is made so, and what `resume` raises is raised.
        """
        if resume:
            await self.resume(tenant, session_id)
        live = await self._active(tenant, session_id)
        recipe.fill_in(query, live.stored.session)
        async with live.entry(when_busy):
            turn = live.start_turn(query)
        await turn.accepted()
        return turn, live.stream

    @asynccontextmanager
    async def watch(self, tenant: str, session_id: str, after: int | None) -> AsyncIterator[Watch]:
        """The session's frames behind the id `after`, else from the start of the running turn.

        Raises NotFound.
        """
        stored = await self._stored(tenant, session_id)
        with self._streams.to_watch(session_id, stored.next_frame) as stream:
            # Asked again: it may have ended just before we had its stream.
            if (await self.get(tenant, session_id)).status == "ended":
                stream.end()
            if after is None:
                live = self._live.get(session_id)
                start = live.turn.first_frame if live and live.turn else stream.next_id
            else:
                start = after + 1
            yield Watch(self._store, tenant, session_id, stream, start)

    async def exec(self, tenant: str, session_id: str, command: Exec) -> ExecResult:
        """Runs a shell command in the workspace, also beside a turn.

        It goes on to its end if the caller is cancelled. Raises NotFound, BadRequest if the
        session is not active, EngineFailed if its sandbox could not run it or ended.
        """
        live = await self._active(tenant, session_id)
        return await live.exec(command)

    async def interrupt(self, tenant: str, session_id: str) -> bool:
        """Ends the running turn and keeps the session; whether there was one.

        Returns when the turn has ended. Raises NotFound, BadRequest if it is not active.
        """
        live = await self._active(tenant, session_id)
        if live.turn is None:
            return False
        await live.turn.stop("interrupted")
        return True

    async def pause(self, tenant: str, session_id: str) -> Session:
        """Stops the running turn; the sandbox stays as long as there is room for it."""
        stored = await self._stored(tenant, session_id)
        live = self._live.get(session_id)
        if live is None or stored.session.status != "active":
            raise refusal("pause", stored.session.status)
        await live.pause()
        return await self.get(tenant, session_id)

    async def stop(self, tenant: str, session_id: str) -> Session:
        """Stops the running turn and frees the sandbox; what is in it is kept."""
        stored = await self._stored(tenant, session_id)
        live = self._live.get(session_id)
        if live is None or stored.session.status not in CHANGES["stop"].sources:
            raise refusal("stop", stored.session.status)
        self._nursery.start_soon(live.close, "stop", "stopped")
        await live.ended()
        session = await self.get(tenant, session_id)
        if session.status != "stopped":
            raise refusal("stop", session.status)
        return session

    async def resume(self, tenant: str, session_id: str) -> Session:
        """Makes the session active again; one that is stays as it is.

        At once if it still has its sandbox, else with a new one that goes on with its files
        and its conversation.

        Raises Gone if it has ended, Unavailable when there is no room, EngineFailed.
        """
        while True:
            stored = await self._found(tenant, session_id)
            live = self._live.get(session_id)
            waking = self._waking.get(session_id)
            if live is None and waking is not None:
                await waking.wait()
            elif live is None:
                if stored.session.status not in CHANGES["wake"].sources:
                    raise refusal("resume", stored.session.status)
                live = await self._wake(stored)
                await live.started()
                return live.stored.session
            elif await live.resume(self._pool):
                return live.stored.session
            else:
                await live.ended()

    async def fork(self, tenant: str, session_id: str, after: int | None) -> Session:
        """A session with the parent's files and its conversation up to the last finished turn.

        With `after`, up to the message with that sequence. It is paused; the parent stays as
        it is. Raises BadRequest if there is no such message, NotFound if its files are gone.
        """
        parent = await self._stored(tenant, session_id)
        finished = await self._store.finished_up_to(session_id)
        upto = finished if after is None else after
        if upto > finished:
            raise BadRequest(f"afterSequence: the last finished message is {finished}, not {upto}")
        taken = await self._store.messages(tenant, session_id, limit=upto) if upto else []
        live = self._live.get(session_id)
        whole = upto == finished and (live is None or live.turn is None)
        now = now_iso(self._house.clock)
        fork = recipe.forked(parent, taken, whole=whole, owner=self._owner, now=now)
        event = lifecycle_event("forked", **{"from": session_id})
        async with self._pool.forked_files(session_id, fork.session.id):
            await self._store.fork_session(fork, taken, event)
        return fork.session

    async def configure(
        self, tenant: str, session_id: str, model: str | UnsetType | None, config: dict[str, Any]
    ) -> Session:
        """Changes what is given; it holds from the next message on. Null takes a setting back.

        Raises Gone if the session has ended.
        """
        stored = await self._stored(tenant, session_id)
        if stored.session.status == "ended":
            raise refusal("configure", "ended")
        merged = {**(stored.session.config or {}), **config}
        kept = {name: value for name, value in merged.items() if value is not None}
        await self._store.configure_session(
            session_id,
            model=stored.session.model if model is UNSET else model,
            config=kept or None,
        )
        if live := self._live.get(session_id):
            await live.configured()
        return await self.get(tenant, session_id)

    async def end(self, tenant: str, session_id: str) -> Session:
        """Ends the session for good, its turn first; files are kept. Ending twice is fine."""
        await self._stored(tenant, session_id)
        if live := self._live.get(session_id):
            self._nursery.start_soon(live.close, "end", "stopped")
            await live.ended()
        event = lifecycle_event("ended")
        now = now_iso(self._house.clock)
        await self._store.change_session(session_id, CHANGES["end"], now, event=event)
        self._streams.end(session_id)
        session = await self.get(tenant, session_id)
        if self._cloud is not None:
            self._cloud.session_changed(session)
        return session

    async def messages(
        self, tenant: str, session_id: str, *, after: int, limit: int
    ) -> list[Message]:
        await self._stored(tenant, session_id)
        return await self._store.messages(tenant, session_id, after=after, limit=limit)

    async def events(
        self, tenant: str, session_id: str, *, after: int, limit: int, kind: EventType | None
    ) -> list[SessionEvent]:
        await self._stored(tenant, session_id)
        return await self._store.events(tenant, session_id, after=after, limit=limit, kind=kind)

    async def logs(self, tenant: str, session_id: str, *, after: int) -> tuple[list[LogLine], str]:
        """The lines, and whether they are a live sandbox's or what was kept of one."""
        await self._stored(tenant, session_id)
        source = "sandbox" if session_id in self._live else "snapshot"
        return await self._store.logs(tenant, session_id, after=after), source

    async def sweep(self) -> None:
        """Pauses sessions that have been idle for too long; runs until cancelled."""
        timeout = self._rules.idle_timeout
        while timeout:
            await trio.sleep(timeout / 10)
            for live in list(self._live.values()):
                since = live.idle_since()
                if since is not None and trio.current_time() - since >= timeout:
                    self._nursery.start_soon(live.evict, "idle")

    async def shut_down(self, grace: float) -> None:
        """Takes no more sessions; ends turns as `shutdown` and pauses what is active.

        Agents that do not follow are killed after two thirds of `grace` seconds, so that their
        clients hear of it in the last one.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pool.close)
            for live in list(self._live.values()):
                # One that is still starting can't be paused.
                action: Action = "stop" if live.stored.session.status == "starting" else "pause"
                nursery.start_soon(
                    partial(live.close, action, "shutdown", step=grace / 3, reason="shutdown")
                )
        self._streams.shut()

    async def _keep(self, live: Live, held: ExitStack, settings: Settings, event: str) -> None:
        """A live session's task."""
        with held:
            try:
                await live.run(self._pool, settings, event)
            finally:
                del self._live[live.stored.session.id]

    def _bring_up(self, stored: StoredSession, box: Box, settings: Settings, event: str) -> Live:
        held = ExitStack()
        stream = held.enter_context(self._streams.to_publish(box.id, stored.next_frame))
        live = self._live[box.id] = Live(self._house, stored, box, stream)
        self._nursery.start_soon(self._keep, live, held, settings, event)
        return live

    async def _wake(self, stored: StoredSession) -> Live:
        """The session with a new sandbox; whoever wants the same meanwhile waits for it."""
        waking = self._waking[stored.session.id] = trio.Event()
        try:
            return await self._claim_again(stored)
        finally:
            del self._waking[stored.session.id]
            waking.set()

    async def _claim_again(self, stored: StoredSession) -> Live:
        """A new sandbox with what was kept of the last one."""
        session = stored.session
        agent = await self._store.agent(session.tenant_id, session.agent_name)
        if agent is None and self._cloud is not None:
            agent = await self._cloud.agent(session.tenant_id, session.agent_name)
        if agent is None:
            raise NotFound(f'The agent "{session.agent_name}" of this session is gone')
        order = recipe.order(self._rules, agent, recipe.asked_limits(stored), restore=True)
        box = await self._pool.claim_again(session.id, order)
        mine: StoredSession | None = None
        try:
            with trio.CancelScope(shield=True):
                mine = await self._store.change_session(
                    session.id, CHANGES["wake"], now_iso(self._house.clock), new_generation=True
                )
        finally:
            if mine is None:
                self._pool.release(box)
        if mine is None:
            raise refusal("resume", (await self.get(session.tenant_id, session.id)).status)
        return self._bring_up(mine, box, recipe.resuming(agent, mine), "")

    async def _active(self, tenant: str, session_id: str) -> Live:
        live = self._live.get(session_id)
        if live is None or live.stored.session.tenant_id != tenant:
            raise not_active((await self.get(tenant, session_id)).status)
        if live.stored.session.status != "active":
            raise not_active(live.stored.session.status)
        return live

    async def _found(self, tenant: str, session_id: str) -> StoredSession:
        """One that another daemon left, too. Raises NotFound, Unavailable."""
        if self._cloud is None:
            return await self._stored(tenant, session_id)
        stored = await self._store.session(tenant, session_id)
        stored = stored or await self._cloud.adopt(tenant, session_id)
        return stored or await self._stored(tenant, session_id)

    async def _stored(self, tenant: str, session_id: str) -> StoredSession:
        stored = await self._store.session(tenant, session_id)
        if stored is None:
            raise NotFound(f'There is no session "{session_id}"')
        return stored
