"""What all sessions of a daemon share."""

from msgspec import Struct, field

from ash.clock import Clock, now_iso
from ash.errors import NotFound
from ash.large_lines import LargeLines
from ash.limits import Limits
from ash.model import StoredAgent, StoredSession
from ash.pool.pool import Pool
from ash.sandbox.sandbox import PoolKey
from ash.sessions.session_spec import ServerRules, sandbox_spec, unknown_agent
from ash.sessions.snapshots import SessionSnapshots
from ash.store import Store


class SessionDependencies(Struct, frozen=True, kw_only=True):
    """`owner` is this daemon's name in the store; `snapshots` finds what other daemons left.

    A turn whose agent is silent for `silence_timeout` seconds is ended; 0 means never.
    """

    store: Store
    pool: Pool
    clock: Clock
    owner: str
    rules: ServerRules
    silence_timeout: float
    snapshots: SessionSnapshots | None = None
    large_lines: LargeLines = field(default_factory=LargeLines)

    async def known(self, tenant: str, session_id: str) -> StoredSession:
        """Raises NotFound."""
        stored = await self.store.session(tenant, session_id)
        if stored is None:
            raise NotFound(f'There is no session "{session_id}"')
        return stored

    async def found(self, tenant: str, session_id: str) -> StoredSession:
        """As `known`, but takes over what another daemon left. Also raises Unavailable."""
        if self.snapshots is not None and await self.store.session(tenant, session_id) is None:
            await self.snapshots.adopt(tenant, session_id)
        return await self.known(tenant, session_id)

    async def agent_of(self, stored: StoredSession) -> StoredAgent:
        """The version of its agent that the session was made from.

        If that is not known, as for a session of another server, the agent's current version; if
        there is none either, what goes on without one. Raises Unavailable.
        """
        session = stored.session
        made_from = stored.agent_source
        agent = await self.store.deployed(made_from) if made_from is not None else None
        if agent is None:
            agent = await self.store.agent(session.tenant_id, session.agent_name)
        if agent is None and self.snapshots is not None:
            agent = await self.snapshots.agent(session.tenant_id, session.agent_name)
        return agent or unknown_agent(stored)

    async def limits_of(self, stored: StoredSession) -> Limits:
        """What a sandbox of the session may take, as far as this daemon knows its agent."""
        session = stored.session
        made_from = stored.agent_source
        agent = await self.store.deployed(made_from) if made_from is not None else None
        agent = agent or await self.store.agent(session.tenant_id, session.agent_name)
        return sandbox_spec(
            self.rules, agent or unknown_agent(stored), stored.settings.limits
        ).limits


class StoredSandboxRecords:
    def __init__(self, store: Store, owner: str, clock: Clock) -> None:
        self._store = store
        self._owner = owner
        self._clock = clock

    async def sandbox_added(self, sandbox_id: str, key: PoolKey) -> bool:
        return await self._store.add_sandbox(
            sandbox_id,
            owner=self._owner,
            tenant=key.tenant,
            agent=key.agent,
            version=key.version,
            now=now_iso(self._clock),
        )

    async def sandbox_cold(self, sandbox_id: str) -> None:
        await self._store.chill_sandbox(sandbox_id, now_iso(self._clock))

    async def sandbox_removed(self, sandbox_id: str) -> None:
        await self._store.remove_sandbox(sandbox_id)

    async def count_cold(self) -> int:
        return await self._store.count_cold(self._owner)
