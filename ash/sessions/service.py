"""What can be done with sessions. Routes, the command line and scripts all come through here."""

from functools import partial
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct, field

from ash.agents import agent_config
from ash.clock import now_iso
from ash.errors import AshError, NotFound
from ash.lifecycle import CHANGES, not_active
from ash.model import (
    EventType,
    LogLine,
    Message,
    Session,
    SessionEvent,
    SessionSettings,
    SessionStatus,
    StoredAgent,
    StoredSession,
)
from ash.protocol import Exec, ExecResult, Open, Query
from ash.sandbox.box import Kind, Order
from ash.sandbox.egress import Policy
from ash.sandbox.egress import cap as cap_network
from ash.sandbox.egress import parse as parse_network
from ash.sandbox.limits import AskedLimits, Limits, cap
from ash.sandbox.pool import Pool
from ash.sessions.live import House, Live, lifecycle_event
from ash.sessions.stream import Stream
from ash.sessions.turn import Turn

# What a session's owner may set at any time: the engine's name for it, and the API's.
CONFIG = {
    "allowed_tools": "allowedTools",
    "disallowed_tools": "disallowedTools",
    "betas": "betas",
    "subagents": "subagents",
    "initial_agent": "initialAgent",
}


class Rules(Struct, frozen=True):
    """What the daemon's settings say for all sessions.

    None gets more than `limits` and `network` allow. Idle for `idle_timeout` seconds, a
    session gives up its sandbox; 0 means never.
    """

    permission_mode: str
    idle_timeout: float
    pre_warm: int
    limits: Limits
    network: Policy


class NewSession(Struct, kw_only=True):
    """What a session is created with. `config` is what its owner may change later."""

    agent: str
    model: str | None = None
    system_prompt: str | None = None
    mcp_servers: dict[str, Any] | None = None
    permission_mode: str | None = None
    extra_env: dict[str, str] = field(default_factory=dict)
    limits: AskedLimits | None = None
    config: dict[str, Any] = field(default_factory=dict)


class Sessions:
    """Owns every live session; their watchers are tasks of the nursery it is given."""

    def __init__(
        self, house: House, pool: Pool, nursery: trio.Nursery, owner: str, rules: Rules
    ) -> None:
        self._house = house
        self._store = house.store
        self._pool = pool
        self._nursery = nursery
        self._owner = owner
        self._rules = rules
        self._live: dict[str, Live] = {}

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
        box = await self._pool.claim(self._order(agent, wanted.limits))
        stored = self._new(box.id, agent, wanted)
        try:
            # A write is committed whether or not its caller waits: this one has to know.
            with trio.CancelScope(shield=True):
                await self._store.create_session(stored)
        except BaseException:
            self._pool.release(box)
            raise
        live = self._live[box.id] = Live(self._house, stored, box)
        self._nursery.start_soon(self._keep, live, _settings(agent, stored))
        try:
            await live.started()
        except AshError as error:
            error.text += f" (its log: GET /api/sessions/{box.id}/logs)"
            raise
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
        self._pool.stock(self._order(agent), settings, count)

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

    async def send(self, tenant: str, session_id: str, query: Query) -> tuple[Turn, Stream]:
        """Starts a turn; returns when the user's message is stored.

        Raises NotFound, BadRequest if the session is not active, Conflict if a turn runs.
        """
        live = await self._active(tenant, session_id)
        _fill_in(query, live.stored.session)
        turn = live.start_turn(query)
        await turn.accepted()
        return turn, live.stream

    async def exec(self, tenant: str, session_id: str, command: Exec) -> ExecResult:
        """Runs a shell command in the workspace, also beside a turn.

        It goes on to its end if the caller is cancelled. Raises NotFound, BadRequest if the
        session is not active, EngineFailed if its sandbox could not run it or ended.
        """
        live = await self._active(tenant, session_id)
        return await live.exec(command)

    async def end(self, tenant: str, session_id: str) -> Session:
        """Ends the session for good, its turn first; files are kept. Ending twice is fine."""
        await self._stored(tenant, session_id)
        if live := self._live.get(session_id):
            self._nursery.start_soon(live.close, "end", "stopped")
            await live.gone.wait()
        event = lifecycle_event("ended")
        now = now_iso(self._house.clock)
        await self._store.change_session(session_id, CHANGES["end"], now, event=event)
        return (await self._stored(tenant, session_id)).session

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

    async def shut_down(self) -> None:
        """Takes no more sessions; ends turns as `shutdown` and pauses what is active."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pool.close)
            for live in list(self._live.values()):
                pause = partial(live.close, "pause", "shutdown", reason="shutdown")
                nursery.start_soon(pause)

    def _order(self, agent: StoredAgent, asked: AskedLimits | None = None) -> Order:
        config = agent_config(agent)
        return Order(
            kind=Kind(agent.agent.tenant_id, agent.agent.name, agent.agent.version),
            source=Path(agent.source),
            env=agent.env,
            limits=cap(config.limits, asked, most=self._rules.limits),
            network=cap_network(parse_network(config.network), self._rules.network),
        )

    def _new(self, session_id: str, agent: StoredAgent, wanted: NewSession) -> StoredSession:
        now = now_iso(self._house.clock)
        session = Session(
            id=session_id,
            tenant_id=agent.agent.tenant_id,
            agent_name=wanted.agent,
            sandbox_id=session_id,
            status="starting",
            created_at=now,
            last_active_at=now,
            model=wanted.model,
            config=wanted.config or None,
        )
        settings = SessionSettings(
            system_prompt=wanted.system_prompt,
            mcp_servers=wanted.mcp_servers,
            permission_mode=wanted.permission_mode or self._rules.permission_mode,
            extra_env=wanted.extra_env,
        )
        return StoredSession(
            session=session,
            settings=settings,
            agent_version=agent.agent.version,
            owner=self._owner,
        )

    async def _keep(self, live: Live, settings: Open) -> None:
        """A live session's task."""
        try:
            await live.run(self._pool, settings)
        finally:
            del self._live[live.stored.session.id]

    async def _active(self, tenant: str, session_id: str) -> Live:
        live = self._live.get(session_id)
        if live is None or live.stored.session.tenant_id != tenant:
            raise not_active((await self.get(tenant, session_id)).status)
        return live

    async def _stored(self, tenant: str, session_id: str) -> StoredSession:
        stored = await self._store.session(tenant, session_id)
        if stored is None:
            raise NotFound(f'There is no session "{session_id}"')
        return stored


def _settings(agent: StoredAgent, stored: StoredSession) -> Open:
    """What the engine must be opened with for this session."""
    config = stored.session.config or {}
    settings = Open(
        session_id=stored.session.id,
        model=stored.session.model or agent.agent.model or None,
        system_prompt=stored.settings.system_prompt,
        mcp_servers=stored.settings.mcp_servers,
        permission_mode=stored.settings.permission_mode,
        env=stored.settings.extra_env or None,
    )
    for name, key in CONFIG.items():
        setattr(settings, name, config.get(key))
    return settings


def _fill_in(query: Query, session: Session) -> None:
    """What the message leaves open is as the session has it."""
    query.model = query.model or session.model
    for name, key in CONFIG.items():
        setattr(query, name, (session.config or {}).get(key))
