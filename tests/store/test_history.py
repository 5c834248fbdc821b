"""Turns, messages and timeline events in the store."""

import pytest
import trio

from ash.lifecycle import CHANGES
from ash.model import Message
from ash.store import OwnershipLost
from ash.store.history import NewEvent, NewMessage, TurnEnd
from ash.store.sessions import StatusChange

END, FAILED = TurnEnd("completed", 9), TurnEnd("error", 9, "oh")


async def test_turn_begun(store, session_id, begin, now):
    """A turn begins with the user's message, the first of the session."""
    await begin(session_id)
    (message,) = await store.messages("default", session_id)
    expected = Message(
        id=message.id,
        session_id=session_id,
        tenant_id="default",
        role="user",
        content='{"type":"user","content":"hi"}',
        sequence=1,
        created_at=now,
    )
    assert expected == message


@pytest.mark.parametrize("status", ["starting", "paused", "stopped", "ended", "error"])
async def test_turn_begun_when_not_active(store, create, begin, status):
    """A turn of a session that is not active is refused, and nothing is stored."""
    session_id = await create(status=status)
    with pytest.raises(OwnershipLost):
        await begin(session_id)
    assert [] == await store.messages("default", session_id)
    assert [] == await store.open_turns("me")


async def test_turn_begun_by_old_generation(store, session_id, begin):
    """A turn of an old generation is refused."""
    with pytest.raises(OwnershipLost):
        await begin(session_id, generation=2)
    assert [] == await store.messages("default", session_id)


async def test_frames_reserved(store, session_id, begin):
    """Reserved frame ids are never given out again."""
    await begin(session_id, frames=500)
    await store.append(session_id, 1, next_frame=300, now="2026")
    assert 500 == (await store.session_by_id(session_id)).next_frame
    await store.append(session_id, 1, next_frame=700, now="2027")
    await store.append(session_id, 1, [NewEvent("text", None)], now="2028")
    stored = await store.session_by_id(session_id)
    assert (700, "2028") == (stored.next_frame, stored.session.last_active_at)


async def test_frames_reserved_by_old_generation(store, session_id, turn_id):
    """Else two daemons would give out the same ids."""
    with pytest.raises(OwnershipLost):
        await store.append(session_id, 2, next_frame=700, now="2027")


async def test_messages_appended(store, session_id, turn_id, now):
    """Messages are stored byte for byte, in order, after the user's message."""
    said = ['{"text": "ä\\u2028 🦊 \\ud83d"}', '{"big":"' + "x" * 2_000_000 + '"}']
    numbered = [NewMessage(text, frame) for frame, text in enumerate(said, 2)]
    await store.append(session_id, 1, numbered, now=now)
    messages = await store.messages("default", session_id, after=1)
    assert said == [message.content for message in messages]
    assert [("assistant", 2), ("assistant", 3)] == [(m.role, m.sequence) for m in messages]


async def test_messages_and_events_appended_by_old_generation(store, session_id, turn_id, now):
    """An append of an old generation stores neither messages nor events."""
    said = [NewMessage("{}", 2), NewEvent("text", "{}")]
    with pytest.raises(OwnershipLost):
        await store.append(session_id, 2, said, now=now)
    assert 1 == len(await store.messages("default", session_id))
    assert [] == await store.events("default", session_id)


async def test_sequences_of_many_writers(store, create, begin, now):
    """A hundred concurrent appends give each session sequence numbers without a gap."""
    ids = [await create(), await create()]
    for session_id in ids:
        await begin(session_id)

    async def append(session_id, number):
        said = [NewMessage(f'"{number}"', 1), NewEvent("text", None)]
        await store.append(session_id, 1, said, now=now)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            for session_id in ids:
                nursery.start_soon(append, session_id, number)
    for session_id in ids:
        messages = await store.messages("default", session_id, limit=1000)
        events = await store.events("default", session_id, limit=1000)
        assert list(range(1, 102)) == [message.sequence for message in messages]
        assert list(range(1, 101)) == [event.sequence for event in events]


async def test_turn_ended(store, session_id, turn_id, now):
    """The end of a turn and its events are stored together."""
    last = [NewEvent("turn_complete", "{}")]
    await store.end_turn(turn_id, session_id, 1, END, entries=last, now=now)
    assert [] == await store.open_turns("me")
    assert ["turn_complete"] == [e.type for e in await store.events("default", session_id)]


async def test_turn_ended_twice(store, session_id, turn_id, now):
    """A second end of a turn is refused with its events."""
    await store.end_turn(turn_id, session_id, 1, END, now=now)
    with pytest.raises(OwnershipLost):
        await store.end_turn(turn_id, session_id, 1, FAILED, now=now)
    assert [] == await store.events("default", session_id)


async def test_turn_ended_with_its_session(store, session_id, turn_id, now):
    """What the end makes of the session is in the same unit, with its event behind the turn's."""
    error = StatusChange(CHANGES["fail"], '{"action":"error"}')
    changed = await store.end_turn(turn_id, session_id, 1, FAILED, now=now, status=error)
    assert changed == await store.session_by_id(session_id)
    assert "error" == changed.session.status
    assert ["error", "lifecycle"] == [e.type for e in await store.events("default", session_id)]


async def test_turn_is_not_ended_when_its_session_can_not_be_changed(
    store, session_id, turn_id, now
):
    """All of a unit or nothing: an end never comes with a status that does not hold."""
    await store.change_session(session_id, CHANGES["pause"], now)
    status = StatusChange(CHANGES["pause"])
    with pytest.raises(OwnershipLost):
        await store.end_turn(turn_id, session_id, 1, FAILED, now=now, status=status)
    assert [turn_id] == [turn.id for turn in await store.open_turns("me")]


async def test_turn_ended_by_old_generation(store, session_id, turn_id, now):
    """An end by an old generation is refused."""
    with pytest.raises(OwnershipLost):
        await store.end_turn(turn_id, session_id, 2, END, now=now)
    assert [turn_id] == [turn.id for turn in await store.open_turns("me")]


async def test_turn_ended_after_session(store, session_id, turn_id, end_session, now):
    """A turn can be ended after its session."""
    await end_session(session_id)
    await store.end_turn(turn_id, session_id, 1, END, now=now)
    assert [] == await store.open_turns("me")


async def test_messages_in_pages(store, session_id, turn_id, now):
    """A page begins after `after` and has at most `limit` messages."""
    said = [NewMessage(str(number), number) for number in range(2, 8)]
    await store.append(session_id, 1, said, now=now)
    page = await store.messages("default", session_id, after=3, limit=2)
    assert [4, 5] == [message.sequence for message in page]
    assert [] == await store.messages("default", session_id, after=7)


async def test_events_of_a_type(store, session_id, now):
    """A type filters the timeline, together with `after` and `limit`."""
    for kind in ("text", "error", "text", "text"):
        await store.add_event(session_id, kind, None, now)
    page = await store.events("default", session_id, kind="text", after=1, limit=1)
    assert [(3, "text", None)] == [(event.sequence, event.type, event.data) for event in page]


async def test_history_of_another_tenant(store, session_id, turn_id, now):
    """Messages and events of another tenant are not found."""
    await store.add_event(session_id, "text", "{}", now)
    assert [] == await store.messages("other", session_id)
    assert [] == await store.events("other", session_id)


async def test_event_of_unknown_session(store, now):
    """An event of an unknown session is refused."""
    with pytest.raises(OwnershipLost):
        await store.add_event("nobody", "text", None, now)
