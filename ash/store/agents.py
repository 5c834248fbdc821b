from typing import Any

from msgspec import UNSET

from ash.model import MASK, Agent, StoredAgent
from ash.store.base import Repository, from_json, new_id, to_json
from ash.store.driver import Row, Statement
from ash.store.sql import load

SQL = load("agents")


class AgentRepository(Repository):
    async def deploy_agent(
        self,
        tenant: str,
        name: str,
        *,
        path: str,
        source: str,
        now: str,
        env: dict[str, str] | None = None,
        description: str | None = None,
        model: str | None = None,
        config: dict[str, Any] | None = None,
    ) -> StoredAgent:
        """The agent's first version or its next. What is None stays as it was."""
        params = {
            "id": new_id(),
            "tenant": tenant,
            "name": name,
            "path": path,
            "source": source,
            "env": to_json(env),
            "description": description,
            "model": model,
            "config": to_json(config),
            "now": now,
        }
        ((row,),) = await self._driver.write([Statement(SQL["deploy_agent"], params)])
        return _agent(row)

    async def agent(self, tenant: str, name: str) -> StoredAgent | None:
        params = {"tenant": tenant, "name": name}
        return await self._driver.fetch_one(SQL["agent"], params, _agent)

    async def agents(self, tenant: str) -> list[StoredAgent]:
        """By name."""
        return await self._driver.fetch(SQL["agents"], {"tenant": tenant}, _agent)

    async def all_agents(self) -> list[StoredAgent]:
        """Of all tenants: for the daemon itself, never for a client."""
        return await self._driver.fetch(SQL["all_agents"], {}, _agent)

    async def delete_agent(self, tenant: str, name: str) -> StoredAgent | None:
        """What was taken out: its files are the caller's to delete."""
        params = {"tenant": tenant, "name": name}
        (rows,) = await self._driver.write([Statement(SQL["delete_agent"], params)])
        return _agent(rows[0]) if rows else None


def _agent(row: Row) -> StoredAgent:
    env: dict[str, str] = from_json(row["env"])
    agent = Agent(
        id=row["id"],
        name=row["name"],
        tenant_id=row["tenant_id"],
        version=row["version"],
        path=row["path"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        description=_unset(row["description"]),
        model=_unset(row["model"]),
        config=_unset(from_json(row["config"])),
        env=dict.fromkeys(env, MASK) if env else UNSET,
    )
    return StoredAgent(agent=agent, source=row["source"], env=env)


def _unset(value: Any) -> Any:
    return UNSET if value is None else value
