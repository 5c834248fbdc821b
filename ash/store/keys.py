from ash.model import ApiKey
from ash.store.base import Repository
from ash.store.driver import Row, Statement
from ash.store.sql import load

SQL = load("keys")


class KeyRepository(Repository):
    async def add_key(self, key: ApiKey, digest: bytes) -> None:
        """`digest` is a keyed hash: the key itself is never kept."""
        params = {
            "id": key.id,
            "tenant": key.tenant_id,
            "label": key.label,
            "key_prefix": key.key_prefix,
            "digest": digest,
            "created_at": key.created_at,
        }
        await self._driver.write([Statement(SQL["add_key"], params)])

    async def keys(self) -> list[tuple[ApiKey, bytes]]:
        """All keys of all tenants with their digests, oldest first."""
        return await self._driver.fetch(SQL["keys"], {}, _key)

    async def delete_key(self, tenant: str, key_id: str) -> bool:
        """Whether the tenant had such a key."""
        params = {"tenant": tenant, "id": key_id}
        (rows,) = await self._driver.write([Statement(SQL["delete_key"], params)])
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
