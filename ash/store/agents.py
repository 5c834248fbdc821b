"""Agents, and the API keys of tenants."""

from typing import Any

from msgspec import UNSET

from ash.model import MASK, Agent, ApiKey, StoredAgent
from ash.store.driver import Repository, Row, Statement, from_json, new_id, to_json
from ash.store.schema import load

AGENTS_SQL = load("agents")
KEYS_SQL = load("keys")


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
        """Stores the agent's first or next version. A None leaves the field as it was."""
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
        (row,), _ = await self._driver.write(
            [
                Statement(AGENTS_SQL["deploy_agent"], params),
                Statement(AGENTS_SQL["keep_deploy"], {"tenant": tenant, "name": name}),
            ]
        )
        return _agent(row)

    async def deployed(self, source: str) -> StoredAgent | None:
        """The version of an agent with its files in `source`, also if it is not current."""
        return await self._driver.fetch_one(AGENTS_SQL["deploy"], {"source": source}, _agent)

    async def kept_deploys(self, tenant: str, name: str) -> list[StoredAgent]:
        """The versions of an agent that are current or that a session may need, and no others.

        Others are forgotten. The agent may be deleted.
        """
        params = {"tenant": tenant, "name": name}
        await self._driver.write([Statement(AGENTS_SQL["drop_unused_deploys"], params)])
        return await self._driver.fetch(AGENTS_SQL["deploys"], params, _agent)

    async def all_kept_deploys(self) -> list[StoredAgent]:
        """As `kept_deploys`, of all agents; only for the daemon itself, never for a client."""
        await self._driver.write([Statement(AGENTS_SQL["drop_all_unused_deploys"], {})])
        return await self._driver.fetch(AGENTS_SQL["all_deploys"], {}, _agent)

    async def agent(self, tenant: str, name: str) -> StoredAgent | None:
        params = {"tenant": tenant, "name": name}
        return await self._driver.fetch_one(AGENTS_SQL["agent"], params, _agent)

    async def agents(self, tenant: str) -> list[StoredAgent]:
        """The tenant's agents, sorted by name."""
        return await self._driver.fetch(AGENTS_SQL["agents"], {"tenant": tenant}, _agent)

    async def all_agents(self) -> list[StoredAgent]:
        """The agents of all tenants; only for the daemon itself, never for a client."""
        return await self._driver.fetch(AGENTS_SQL["all_agents"], {}, _agent)

    async def delete_agent(self, tenant: str, name: str) -> StoredAgent | None:
        """Deletes the agent and returns it, so that the caller can delete its files."""
        params = {"tenant": tenant, "name": name}
        (rows,) = await self._driver.write([Statement(AGENTS_SQL["delete_agent"], params)])
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


class KeyRepository(Repository):
    async def add_key(self, key: ApiKey, digest: bytes) -> None:
        """Stores a key's keyed hash `digest`; the key itself is never stored."""
        params = {
            "id": key.id,
            "tenant": key.tenant_id,
            "label": key.label,
            "key_prefix": key.key_prefix,
            "digest": digest,
            "created_at": key.created_at,
        }
        await self._driver.write([Statement(KEYS_SQL["add_key"], params)])

    async def keys(self) -> list[tuple[ApiKey, bytes]]:
        """All keys of all tenants with their digests, oldest first."""
        return await self._driver.fetch(KEYS_SQL["keys"], {}, _key)

    async def delete_key(self, tenant: str, key_id: str) -> bool:
        """Deletes the key; returns whether the tenant had it."""
        params = {"tenant": tenant, "id": key_id}
        (rows,) = await self._driver.write([Statement(KEYS_SQL["delete_key"], params)])
        return bool(rows)


def _key(row: Row) -> tuple[ApiKey, bytes]:
    key = ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        label=row["label"],
        key_prefix=row["key_prefix"],
        created_at=row["created_at"],
    )
    return key, row["digest"]
