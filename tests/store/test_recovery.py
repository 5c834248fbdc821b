"""What the store ends after a crash."""

import pytest

from ash.lifecycle import Change
from ash.store import OwnershipLost
from ash.store.history import NewMessage


async def test_recover_ends_and_pauses(store, session_id, turn_id, now):
    """Sessions that claimed to run are paused, and their turns end as lost."""
    paused = await store.recover("me", now)
    assert [(session_id, "paused")] == [(session.id, session.status) for session in paused]
    assert [] == await store.open_turns("me")
    events = await store.events("default", session_id)
    assert [
        ("error", '{"error":"The daemon was restarted during the turn"}'),
        ("lifecycle", '{"action":"paused","reason":"the daemon was restarted"}'),
    ] == [(event.type, event.data) for event in events]


async def test_recover_gives_frames(store, session_id, turn_id, begin, now):
    """The end of each lost turn gets two unused frame ids."""
    await begin(session_id, start_frame=50)
    assert [100, 102] == [turn.error_frame for turn in await store.open_turns("me")]
    await store.recover("me", now)
    assert 104 == (await store.session_by_id(session_id)).next_frame


async def test_recover_locks_out_the_old_generation(store, session_id, turn_id, now):
    """Whoever held the session before the crash can't write any more."""
    await store.recover("me", now)
    with pytest.raises(OwnershipLost):
        await store.append(session_id, 1, [NewMessage("{}", 1)], now=now)
    resumed = Change(("paused",), "active")
    assert 2 == (await store.change_session(session_id, resumed, now)).generation


async def test_recover_leaves_others_alone(store, create, begin, now):
    """Sessions of other owners, and those that do not run, are unchanged."""
    others = await create(owner="other")
    turn_id = await begin(others)
    idle = await create(status="stopped")
    assert [] == await store.recover("me", now)
    assert ["active", "stopped"] == [
        (await store.session_by_id(one)).session.status for one in (others, idle)
    ]
    assert [turn_id] == [turn.id for turn in await store.open_turns("other")]


async def test_recover_ends_turn_of_ended_session(store, session_id, turn_id, end_session, now):
    """An open turn of an ended session is ended; the session stays ended."""
    await end_session(session_id)
    assert [] == await store.recover("me", now)
    assert [] == await store.open_turns("me")
    assert "ended" == (await store.session_by_id(session_id)).session.status


async def test_recover_twice(store, session_id, turn_id, now):
    """Recovering twice changes nothing the second time."""
    await store.recover("me", now)
    assert [] == await store.recover("me", now)
    assert 2 == len(await store.events("default", session_id))
