"""The stored frames of a session, found by their ids."""

import pytest

from ash.store.history import NewMessage, TurnEnd
from tests.store.conftest import NOW


@pytest.fixture
def turn(store, session_id, begin):
    """Stores a turn with two messages from frame `first` on; returns its last frame."""

    async def turn(first, error=None):
        turn_id = await begin(session_id, start_frame=first)
        messages = [NewMessage("{}", first + 3), NewMessage("[]", first + 6)]
        await store.append(session_id, 1, messages, now=NOW)
        end = TurnEnd("error" if error else "completed", first + 8, error)
        await store.end_turn(turn_id, session_id, 1, end, now=NOW)
        return end.frame

    return turn


async def read(store, session_id, after=0, limit=100, tenant="default"):
    found = await store.frames_after(tenant, session_id, after=after, limit=limit)
    return [(frame.id, frame.event, frame.text or frame.sequence) for frame in found]


async def test_frames_come_in_the_order_of_their_ids(store, session_id, turn):
    """Starts, messages, errors and ends of all turns come once each, in order."""
    await turn(1)
    await turn(20, error="oh")
    assert [
        (1, "session_start", "1"),
        (4, "message", 2),
        (7, "message", 3),
        (9, "done", "completed"),
        (20, "session_start", "1"),
        (23, "message", 5),
        (26, "message", 6),
        (27, "error", "oh"),
        (28, "done", "error"),
    ] == await read(store, session_id)


async def test_user_s_message_is_no_frame(store, session_id, begin):
    """The user's own messages are not among the frames."""
    await begin(session_id)
    assert [(1, "session_start", "1")] == await read(store, session_id)


async def test_frames_are_read_in_pages(store, session_id, turn):
    """Each page begins after the last id of the one before."""
    await turn(1)
    await turn(20)
    whole = await read(store, session_id)
    pages, after = [], 0
    while page := await read(store, session_id, after=after, limit=3):
        assert len(page) <= 3
        pages += page
        after = page[-1][0]
    assert whole == pages


async def test_message_is_included_if_its_last_frame_is_missing(store, session_id, turn):
    """A message is included until the client has its last frame."""
    await turn(1)
    assert (4, "message", 2) == (await read(store, session_id, after=3))[0]
    assert (7, "message", 3) == (await read(store, session_id, after=4))[0]


async def test_frames_of_another_are_not_found(store, session_id, turn, create):
    """Frames of another tenant or session are not found."""
    await turn(1)
    assert [] == await read(store, session_id, tenant="them")
    assert [] == await read(store, await create())
    assert not await store.in_turn("them", session_id, 4)


async def test_store_knows_whether_an_id_was_in_a_turn(store, session_id, turn, begin):
    """An id is in a turn from its start to before its end."""
    await turn(5)
    await turn(30)
    await begin(session_id, start_frame=50)
    inside = [n for n in range(60) if await store.in_turn("default", session_id, n)]
    assert [*range(5, 13), *range(30, 38), *range(50, 60)] == inside
