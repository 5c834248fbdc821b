"""Sandboxes in the store."""

import pytest

NOW = "2026-01-02T03:04:05.678Z"


@pytest.fixture
def add(store):
    async def add(sandbox_id, owner="me"):
        kind = {"tenant": "default", "agent": "a", "version": 1}
        return await store.add_sandbox(sandbox_id, owner=owner, **kind, now=NOW)

    return add


async def test_live_ones_are_not_cold(store, add):
    """Only sandboxes that were marked as cold by this daemon are counted."""
    assert [False, False] == [await add("one"), await add("other", owner="another")]
    assert 0 == await store.count_cold("me")
    await store.chill_sandbox("one", NOW)
    await store.chill_sandbox("other", NOW)
    assert (1, 1) == (await store.count_cold("me"), await store.count_cold("another"))


async def test_cold_one_that_starts_again_is_recognized(store, add):
    """Starting a cold sandbox says that it was cold, and makes it live."""
    await add("one")
    await store.chill_sandbox("one", NOW)
    assert (True, False) == (await add("one"), await add("one"))
    assert 0 == await store.count_cold("me")


async def test_removed_one_is_forgotten(store, add):
    """A removed sandbox is not counted, and its id is new again."""
    await add("one")
    await store.chill_sandbox("one", NOW)
    await store.remove_sandbox("one")
    assert (0, False) == (await store.count_cold("me"), await add("one"))


async def test_after_a_crash_live_ones_are_cold_or_forgotten(store, add, create):
    """Live sandboxes with a session become cold; the others are removed."""
    session_id = await create()
    for sandbox_id in (session_id, "warm"):
        await add(sandbox_id)
    await add("theirs", owner="another")
    await store.recover_sandboxes("me", NOW)
    assert 1 == await store.count_cold("me")
    assert (True, False) == (await add(session_id), await add("warm"))
    await store.chill_sandbox("theirs", NOW)
    assert 1 == await store.count_cold("another")
