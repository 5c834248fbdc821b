"""Sessions in the store."""

import pytest
import trio

from ash.lifecycle import CHANGES
from ash.model import SessionSettings


async def test_session_read_back(store, new_session):
    """A session is read as it was stored, with its private settings."""
    stored = new_session()
    stored.session.config = {"allowedTools": ["Bash"], "text": "ä \u2028 🦊"}
    stored.session.parent_session_id = "other"
    stored.settings = SessionSettings(system_prompt="be kind", extra_env={"A": "b"})
    await store.create_session(stored)
    assert stored == await store.session("default", stored.session.id)
    assert stored == await store.session_by_id(stored.session.id)


async def test_session_of_another_tenant(store, session_id):
    """A session of another tenant is not found."""
    assert None is await store.session("other", session_id)
    assert ([], 0) == await store.sessions("other")


async def test_session_created_with_event(store, new_session):
    """The event of the creation is the first of the timeline."""
    stored = new_session()
    await store.create_session(stored, '{"action":"created"}')
    (event,) = await store.events("default", stored.session.id)
    assert (1, "lifecycle", '{"action":"created"}') == (event.sequence, event.type, event.data)


async def test_sessions_newest_first(store, create):
    """Sessions are listed in the order in which they were made, whatever the clock said then."""
    made = [await create(created_at=f"2026-01-0{day}T00:00:00.000Z") for day in (2, 1, 3)]
    found, total = await store.sessions("default")
    assert (made[::-1], 3) == ([session.id for session in found], total)


async def test_sessions_in_pages(store, create):
    """A page has its part of the list and the total of all pages."""
    ids = [await create() for _ in range(5)]
    found, total = await store.sessions("default", limit=2, offset=2)
    assert ([ids[2], ids[1]], 5) == ([session.id for session in found], total)
    assert ([], 5) == await store.sessions("default", offset=5)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"agent": "a"}, {"a-active", "a-ended"}),
        ({"status": "active"}, {"a-active", "b-active"}),
        ({"agent": "a", "status": "ended"}, {"a-ended"}),
        ({"agent": "c"}, set()),
    ],
)
async def test_sessions_filtered(store, create, wanted, expected):
    """An agent and a status filter both the list and its total."""
    names = {}
    for agent, status in (("a", "active"), ("a", "ended"), ("b", "active")):
        names[await create(agent=agent, status=status)] = f"{agent}-{status}"
    found, total = await store.sessions("default", **wanted)
    assert (expected, len(expected)) == ({names[session.id] for session in found}, total)


async def test_session_changed(store, create, now):
    """A change returns the changed session and stores its event."""
    session_id = await create(status="starting", created_at="2020-01-01T00:00:00.000Z")
    changed = await store.change_session(session_id, CHANGES["activate"], now, event="{}")
    assert ("active", now) == (changed.session.status, changed.session.last_active_at)
    assert changed == await store.session_by_id(session_id)
    assert ["lifecycle"] == [event.type for event in await store.events("default", session_id)]


@pytest.mark.parametrize("status", ["active", "ended", "paused"])
async def test_session_changed_from_wrong_status(store, create, now, status):
    """A change that the status does not allow changes nothing and stores no event."""
    session_id = await create(status=status)
    before = await store.session_by_id(session_id)
    assert None is await store.change_session(session_id, CHANGES["activate"], now, event="{}")
    assert before == await store.session_by_id(session_id)
    assert [] == await store.events("default", session_id)


async def test_session_changed_by_many(store, session_id, now):
    """Of concurrent equal changes exactly one succeeds."""
    won = []

    async def end():
        if await store.change_session(session_id, CHANGES["end"], now, event="{}"):
            won.append(1)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(end)
    assert [1] == won
    assert 1 == len(await store.events("default", session_id))


async def test_session_changed_by_old_generation(store, session_id, now):
    """A change by an old generation changes nothing."""
    end = CHANGES["end"]
    assert None is await store.change_session(session_id, end, now, generation=2)
    assert await store.change_session(session_id, end, now, generation=1)


async def test_session_changed_to_new_generation(store, session_id, now):
    """A change may begin a new generation, which locks out the old one."""
    fail, end = CHANGES["fail"], CHANGES["end"]
    changed = await store.change_session(session_id, fail, now, new_generation=True)
    assert 2 == changed.generation
    assert None is await store.change_session(session_id, end, now, generation=1)


async def test_session_unknown_changed(store, now):
    """Changing an unknown session returns None."""
    assert None is await store.change_session("nobody", CHANGES["end"], now)
