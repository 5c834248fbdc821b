"""API keys in the store."""

from ash.model import ApiKey


def key(key_id, tenant="default", label=None):
    return ApiKey(
        id=key_id, tenant_id=tenant, label=label, key_prefix="ash_1234", created_at=f"2026-{key_id}"
    )


async def test_keys_read_back(store):
    """All keys of all tenants are listed with their digests, oldest first."""
    given = [(key("1", "b", "ci"), b"\x00\xff"), (key("2", "a"), b"other")]
    for one, digest in reversed(given):
        await store.add_key(one, digest)
    assert given == await store.keys()


async def test_key_deleted(store):
    """Deleting says whether there was a key."""
    await store.add_key(key("1"), b"digest")
    assert await store.delete_key("default", "1")
    assert not await store.delete_key("default", "1")
    assert [] == await store.keys()


async def test_key_deleted_by_another_tenant(store):
    """A tenant can't delete another's key."""
    await store.add_key(key("1"), b"digest")
    assert not await store.delete_key("other", "1")
    assert 1 == len(await store.keys())
