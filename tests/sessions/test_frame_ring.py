"""The ring of a session's recent frames."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.events import Frame
from ash.sessions import frame_ring
from ash.sessions.frame_ring import (
    RESERVE,
    RING_BYTES,
    RING_LARGEST,
    WRITE_BYTES,
    FrameRing,
    Lagged,
    RingBroken,
)


def frame(text="x"):
    return Frame("message", f'"{text}"'.encode())


def sized(size):
    return frame("x" * size)


def on_the_wire(frame_id, text="x"):
    return f'id: {frame_id}\nevent: message\ndata: "{text}"\n\n'.encode()


def ids(data):
    return [int(line[4:]) for line in data.split(b"\n") if line.startswith(b"id: ")]


async def read_all(ring, cursor):
    """All that can be read from `cursor` on without waiting, write by write."""
    writes = []
    while cursor < ring.next_id:
        frames, cursor = await ring.read(cursor)
        writes.append(b"".join(frames))
    return writes


async def test_ids_grow_from_where_the_stream_begins():
    """Frames are numbered without holes, from the first id that is free."""
    ring = FrameRing(41)
    ring.publish([frame("a"), frame("b")])
    ring.publish([frame("c")])
    expected = [on_the_wire(41, "a"), on_the_wire(42, "b"), on_the_wire(43, "c")]
    assert (expected, 44) == await ring.read(41)


async def test_reader_begins_where_its_cursor_is():
    """Earlier frames are not sent again."""
    ring = FrameRing(1)
    ring.publish([frame("a"), frame("b")])
    assert ([on_the_wire(2, "b")], 3) == await ring.read(2)


async def test_reader_waits_for_its_frame(nursery):
    """A reader with nothing to read sleeps until its frame is published."""
    ring = FrameRing(1)
    got = []

    async def follow():
        got.append(await ring.read(2))

    nursery.start_soon(follow)
    await wait_all_tasks_blocked()
    assert 1 == ring.statistics().followers
    ring.publish([frame("a")])
    await wait_all_tasks_blocked()
    assert [] == got
    ring.publish([frame("b")])
    await wait_all_tasks_blocked()
    assert [([on_the_wire(2, "b")], 3)] == got


async def test_followers_read_at_their_own_pace(nursery):
    """Several followers get the same frames, each when it asks."""
    ring = FrameRing(1)
    got = {"one": [], "other": []}

    async def follow(name):
        cursor = 1
        while True:
            frames, cursor = await ring.read(cursor)
            got[name].append(frames)

    nursery.start_soon(follow, "one")
    ring.publish([frame("a")])
    await wait_all_tasks_blocked()
    ring.publish([frame("b")])
    nursery.start_soon(follow, "other")
    await wait_all_tasks_blocked()
    nursery.cancel_scope.cancel()
    assert [[on_the_wire(1, "a")], [on_the_wire(2, "b")]] == got["one"]
    assert [[on_the_wire(1, "a"), on_the_wire(2, "b")]] == got["other"]


async def test_end_is_not_read_over():
    """A reader of one turn gets nothing of the next."""
    ring = FrameRing(1)
    ring.publish([frame("mine"), frame("done"), frame("next turn")])
    assert ([on_the_wire(1, "mine"), on_the_wire(2, "done")], 3) == await ring.read(1, end=3)


async def test_write_takes_what_fits():
    """Frames that are there together go out together, up to the size of a write."""
    ring = FrameRing(1)
    ring.publish([sized(1000)] * 150)
    writes = await read_all(ring, 1)
    assert list(range(1, 151)) == ids(b"".join(writes))
    assert 3 == len(writes)
    assert all(len(data) <= WRITE_BYTES for data in writes)


async def test_write_may_be_full_to_the_byte(monkeypatch):
    """Frames that fill a write exactly are one write."""
    ring = FrameRing(1)
    ring.publish([frame("a"), frame("b"), frame("c")])
    monkeypatch.setattr(frame_ring, "WRITE_BYTES", len(on_the_wire(1) + on_the_wire(2)))
    assert [[1, 2], [3]] == [ids(data) for data in await read_all(ring, 1)]


async def test_write_takes_a_large_frame_alone():
    """A frame larger than a write goes out whole."""
    ring = FrameRing(1)
    ring.publish([frame(), sized(WRITE_BYTES + 1), frame()])
    assert [[1], [2], [3]] == [ids(data) for data in await read_all(ring, 1)]


async def test_ring_forgets_the_oldest():
    """Memory is bounded, and of what is kept there is always the latest."""
    ring = FrameRing(1)
    for _ in range(3):
        ring.publish([sized(10_000)] * (RING_BYTES // 10_000))
    kept = b"".join(await read_all(ring, ring.next_id - 100))
    assert list(range(ring.next_id - 100, ring.next_id)) == ids(kept)
    whole = b"".join(await read_all(ring, ring.earliest))
    assert RING_BYTES >= len(whole) == ring.statistics().bytes


async def test_follower_too_far_behind_is_cut():
    """A reader whose next frame is forgotten is told so, and one that keeps up is not."""
    ring = FrameRing(1)
    ring.publish([frame("first")])
    ring.publish([sized(10_000)] * (RING_BYTES // 10_000))
    with pytest.raises(Lagged):
        await ring.read(1)
    earliest = ring.statistics().earliest
    with pytest.raises(Lagged):
        await ring.read(earliest - 1)
    assert [earliest] == ids(*(await ring.read(earliest, end=earliest + 1))[0])


async def test_frames_larger_than_the_ring_cut_nobody():
    """What comes at once is still there for who was waiting for it, however large it is."""
    ring = FrameRing(1)
    ring.publish([frame("before")])
    large = [sized(RING_BYTES + 1)] * (RING_LARGEST - 1)
    ring.publish([*large, frame("done")])
    writes = await read_all(ring, 2)
    assert [2, 3, 4, 5] == ids(b"".join(writes))


async def test_large_frames_do_not_stay():
    """When large frames have been forgotten the bound is the usual one again."""
    ring = FrameRing(1)
    ring.publish([sized(RING_BYTES)] * (2 * RING_LARGEST))
    for _ in range(5):
        ring.publish([sized(10_000)] * (RING_BYTES // 10_000))
    assert RING_BYTES >= ring.statistics().bytes


async def test_break_off_cuts_who_waits(nursery):
    """Followers get what was shown, and are cut where the next frame could not be stored."""
    ring = FrameRing(1)
    ring.publish([frame("shown")])
    cut = []

    async def follow(cursor):
        try:
            await ring.read(cursor)
        except RingBroken:
            cut.append(cursor)

    for cursor in (2, 2):
        nursery.start_soon(partial(follow, cursor))
    await wait_all_tasks_blocked()
    ring.break_off()
    await wait_all_tasks_blocked()
    assert [2, 2] == cut
    assert ([on_the_wire(1, "shown")], 2) == await ring.read(1)
    with pytest.raises(RingBroken):
        await ring.read(2)


async def test_cancelled_reader_loses_nothing():
    """A reader that gives up waiting goes on from the same cursor."""
    ring = FrameRing(1)
    with trio.move_on_after(0):
        await ring.read(1)
    ring.publish([frame("a")])
    assert ([on_the_wire(1, "a")], 2) == await ring.read(1)


def test_ids_are_reserved_far_ahead():
    """A new stream asks for ids, and again when half of them are used."""
    ring = FrameRing(7)
    assert 7 + RESERVE == ring.reservation()
    ring.reserved = 7 + RESERVE
    assert ring.reservation() is None
    ring.next_id = 7 + RESERVE // 2
    assert ring.next_id + RESERVE == ring.reservation()
