"""What the pool remembers across restarts, in the store."""

from ash.clock import Clock, now_iso
from ash.sandbox.sandbox import PoolKey
from ash.store import Store


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
