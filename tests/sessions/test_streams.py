"""Who has the stream of a session, and for how long."""

import pytest
import trio

from ash.events import Frame
from ash.sessions.stream import Cut, Ended
from ash.sessions.streams import Streams

FRAME = Frame("message", b"{}")


@pytest.fixture
def streams():
    return Streams()


async def test_watchers_and_session_have_one_stream(streams):
    """Whoever came first."""
    with (
        streams.to_watch("a", 5) as watched,
        streams.to_publish("a", 5) as published,
        streams.to_watch("a", 1) as other,
        streams.to_watch("b", 1) as another,
    ):
        assert watched is published is other is not another
        assert (5, 1) == (watched.next_id, another.next_id)


async def test_watcher_stays_when_the_session_leaves(streams):
    """It follows on when the session is back, and the ids go on where they were."""
    with streams.to_watch("a", 5) as watched:
        with streams.to_publish("a", 5) as first:
            first.reserved = 100
            first.publish([FRAME])
        with streams.to_publish("a", 100) as second:
            second.publish([FRAME])
        assert (7, 5) == (watched.next_id, watched.earliest)


async def test_stream_that_nobody_holds_is_forgotten(streams):
    """Its memory is free; who comes next begins with what the store has given out."""
    with streams.to_publish("a", 5) as first, streams.to_watch("a", 5):
        first.publish([FRAME])
    with streams.to_watch("a", 100) as second:
        assert (100, 100) == (second.next_id, second.earliest)


async def test_ids_that_the_stream_does_not_know_cut_its_watchers(streams):
    """Another has written under them: what follows has to be read from the store."""
    with streams.to_watch("a", 5) as watched, streams.to_publish("a", 50) as published:
        with pytest.raises(Cut):
            await watched.read(5)
        assert 50 == published.next_id


async def test_broken_stream_is_not_joined(streams):
    """Neither by watchers nor by the session that is resumed."""
    with streams.to_publish("a", 5) as broken:
        broken.reserved = 50
        broken.break_off()
        with streams.to_watch("a", 50) as watched:
            assert 50 == watched.next_id
            with streams.to_publish("a", 50) as published:
                assert watched is published
    with streams.to_watch("a", 60) as later:
        assert 60 == later.next_id


async def test_end_lets_watchers_go(streams, nursery):
    """Who waits for more of a session that is over is told that there is none."""
    with streams.to_watch("a", 5) as stream:
        ended = []

        async def follow():
            with pytest.raises(Ended):
                await stream.read(5)
            ended.append(True)

        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        streams.end("a")
        streams.end("nobody's")
        await trio.testing.wait_all_tasks_blocked()
        assert [True] == ended


async def test_shut_ends_all_streams_and_those_to_come(streams):
    """Nobody may hold up a daemon that ends."""
    with streams.to_watch("a", 5) as before:
        streams.shut()
        with streams.to_watch("b", 5) as after:
            for stream in (before, after):
                with pytest.raises(Ended):
                    await stream.read(5)


async def test_frames_come_before_the_end(streams):
    """A stream that ended still gives what it has."""
    with streams.to_watch("a", 5) as stream:
        stream.publish([FRAME])
        streams.end("a")
        _, cursor = await stream.read(5)
        with pytest.raises(Ended):
            await stream.read(cursor)
