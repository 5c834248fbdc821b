from ash.store.base import Repository
from ash.store.driver import Row, Statement
from ash.store.sql import load

SQL = load("sandboxes")


class SandboxRepository(Repository):
    async def add_sandbox(
        self, sandbox_id: str, *, owner: str, tenant: str, agent: str, version: int, now: str
    ) -> bool:
        """Whether it is one that was cold."""
        params = {
            "id": sandbox_id,
            "owner": owner,
            "tenant": tenant,
            "agent": agent,
            "version": version,
            "now": now,
        }
        unit = [Statement(SQL["wake_sandbox"], params), Statement(SQL["add_sandbox"], params)]
        woken, *_ = await self._driver.write(unit)
        return bool(woken)

    async def chill_sandbox(self, sandbox_id: str, now: str) -> None:
        """Its processes are gone, its files are kept."""
        params = {"id": sandbox_id, "state": "cold", "now": now}
        await self._driver.write([Statement(SQL["move_sandbox"], params)])

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._driver.write([Statement(SQL["remove_sandbox"], {"id": sandbox_id})])

    async def count_cold(self, owner: str) -> int:
        params = {"owner": owner, "state": "cold"}
        return await self._driver.fetch_one(SQL["count_sandboxes"], params, _total) or 0

    async def settle_sandboxes(self, owner: str, now: str) -> None:
        """After a crash, when none of the owner's sandboxes lives."""
        params = {"owner": owner, "now": now}
        await self._driver.write(
            [Statement(SQL["settle_sandboxes"], params), Statement(SQL["drop_sandboxes"], params)]
        )


def _total(row: Row) -> int:
    total: int = row["total"]
    return total
