"""Who has the stream of a session, and for how long."""

import pytest
import trio

from ash.events import Frame
from ash.sessions.frame_ring import FrameRings, RingBroken, RingEnded

FRAME = Frame("message", b"{}")


@pytest.fixture
def rings():
    return FrameRings()


async def test_watchers_and_session_have_one_stream(rings):
    """Whoever came first."""
    with (
        rings.to_watch("a", 5) as watched,
        rings.to_publish("a", 5) as published,
        rings.to_watch("a", 1) as other,
        rings.to_watch("b", 1) as another,
    ):
        assert watched is published is other is not another
        assert (5, 1) == (watched.next_id, another.next_id)


async def test_watcher_stays_when_the_session_leaves(rings):
    """It follows on when the session is back, and the ids go on where they were."""
    with rings.to_watch("a", 5) as watched:
        with rings.to_publish("a", 5) as first:
            first.reserved = 100
            first.publish([FRAME])
        with rings.to_publish("a", 100) as second:
            second.publish([FRAME])
        assert (7, 5) == (watched.next_id, watched.earliest)


async def test_stream_that_nobody_holds_is_forgotten(rings):
    """Its memory is free; who comes next begins with what the store has given out."""
    with rings.to_publish("a", 5) as first, rings.to_watch("a", 5):
        first.publish([FRAME])
    with rings.to_watch("a", 100) as second:
        assert (100, 100) == (second.next_id, second.earliest)


async def test_ids_that_the_stream_does_not_know_cut_its_watchers(rings):
    """Another has written under them: what follows has to be read from the store."""
    with rings.to_watch("a", 5) as watched, rings.to_publish("a", 50) as published:
        with pytest.raises(RingBroken):
            await watched.read(5)
        assert 50 == published.next_id


async def test_broken_stream_is_not_joined(rings):
    """Neither by watchers nor by the session that is resumed."""
    with rings.to_publish("a", 5) as broken:
        broken.reserved = 50
        broken.break_off()
        with rings.to_watch("a", 50) as watched:
            assert 50 == watched.next_id
            with rings.to_publish("a", 50) as published:
                assert watched is published
    with rings.to_watch("a", 60) as later:
        assert 60 == later.next_id


async def test_end_lets_watchers_go(rings, nursery):
    """Who waits for more of a session that is over is told that there is none."""
    with rings.to_watch("a", 5) as ring:
        ended = []

        async def follow():
            with pytest.raises(RingEnded):
                await ring.read(5)
            ended.append(True)

        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        rings.end("a")
        rings.end("nobody's")
        await trio.testing.wait_all_tasks_blocked()
        assert [True] == ended


async def test_shut_ends_all_streams_and_those_to_come(rings):
    """Nobody may hold up a daemon that ends."""
    with rings.to_watch("a", 5) as before:
        rings.shut()
        with rings.to_watch("b", 5) as after:
            for ring in (before, after):
                with pytest.raises(RingEnded):
                    await ring.read(5)


async def test_frames_come_before_the_end(rings):
    """A stream that ended still gives what it has."""
    with rings.to_watch("a", 5) as ring:
        ring.publish([FRAME])
        rings.end("a")
        _, cursor = await ring.read(5)
        with pytest.raises(RingEnded):
            await ring.read(cursor)
