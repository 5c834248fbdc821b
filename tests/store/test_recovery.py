import pytest

from ash.lifecycle import Change
from ash.store import OwnershipLost


async def test_recover_ends_and_pauses(store, session_id, turn_id, now):
    """After a crash what claimed to run is paused, and its turn has ended as lost."""
    paused = await store.recover("me", now)
    assert [(session_id, "paused")] == [(session.id, session.status) for session in paused]
    assert [] == await store.open_turns("me")
    events = await store.events("default", session_id)
    assert [
        ("error", '{"error":"The daemon was restarted during the turn"}'),
        ("lifecycle", '{"action":"paused","reason":"the daemon was restarted"}'),
    ] == [(event.type, event.data) for event in events]


async def test_recover_gives_frames(store, session_id, turn_id, begin, now):
    """Each turn that was cut takes two frame ids for its end that nobody has seen."""
    await begin(session_id, "turn-2", start_frame=50)
    assert [100, 102] == [turn.error_frame for turn in await store.open_turns("me")]
    await store.recover("me", now)
    assert 104 == (await store.session_by_id(session_id)).next_frame


async def test_recover_locks_out_the_past(store, session_id, turn_id, now):
    """Who held the session before the crash can write no more."""
    await store.recover("me", now)
    with pytest.raises(OwnershipLost):
        await store.append(session_id, turn_id, 1, messages=[("{}", 1)], now=now)
    resumed = Change(("paused",), "active")
    assert 2 == (await store.change_session(session_id, resumed, now)).generation


async def test_recover_leaves_others_alone(store, create, begin, now):
    """Sessions of another owner, and those that do not run, stay as they are."""
    others = await create(owner="other")
    await begin(others, "other's turn")
    idle = await create(status="stopped")
    assert [] == await store.recover("me", now)
    assert ["active", "stopped"] == [
        (await store.session_by_id(one)).session.status for one in (others, idle)
    ]
    assert ["other's turn"] == [turn.id for turn in await store.open_turns("other")]


async def test_recover_ends_turn_of_ended_session(store, session_id, turn_id, end_session, now):
    """A turn whose session ended just before the crash is closed; the session stays ended."""
    await end_session(session_id)
    assert [] == await store.recover("me", now)
    assert [] == await store.open_turns("me")
    assert "ended" == (await store.session_by_id(session_id)).session.status


async def test_recover_twice(store, session_id, turn_id, now):
    """A crash during recovery is made good by the next: nothing is done twice."""
    await store.recover("me", now)
    assert [] == await store.recover("me", now)
    assert 2 == len(await store.events("default", session_id))
