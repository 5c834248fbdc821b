"""What large frames take of the memory, over all sessions."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.events import Frame
from ash.large_lines import LargeLines
from ash.sessions import large_frames
from ash.sessions.frame_ring import RING_BYTES, FrameRing
from ash.sessions.large_frames import LARGE_WRITE, LargeFrames
from ash.sessions.watch import Watch

MB = 1024 * 1024


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(large_frames, "KEPT_BYTES", 40 * MB)
    monkeypatch.setattr(large_frames, "PLACES", 1)
    return LargeFrames(LargeLines())


def show(ring, size):
    ring.publish([Frame("message", b"x" * size)])


async def test_rings_together_keep_no_more_than_their_bound(large):
    """Those that were published to longest ago give way first. The latest keeps its frames."""
    rings = [FrameRing(1, large) for _ in range(10)]
    for ring in rings:
        show(ring, 12 * MB)
    kept = [ring.kept_bytes >= 12 * MB for ring in rings]
    assert [False] * 6 + [True] * 4 == kept
    assert sum(ring.kept_bytes for ring in rings) < 52 * MB + 4096


async def test_small_rings_keep_their_frames(large):
    """A session of the usual size never loses frames because of others."""
    small, other = FrameRing(1, large), FrameRing(1, large)
    show(small, 1000)
    for _ in range(9):
        show(other, 12 * MB)
    assert 1 == small.earliest
    assert small.kept_bytes < RING_BYTES


async def test_ring_that_nobody_holds_takes_no_room(large):
    """It is not counted any more."""
    for _ in range(10):
        ring = FrameRing(1, large)
        show(ring, 12 * MB)
        large.dropped(ring)
    show(last := FrameRing(1, large), 1)
    assert 1 == len(large._rings)
    assert 1 == last.earliest


async def test_few_readers_have_a_large_frame_at_a_time(large, nursery):
    """One more waits until a reader says that it has sent what it had, or that it ends."""
    ring = FrameRing(1, large)
    show(ring, LARGE_WRITE)
    first, second = (Watch(None, "t", "s", ring, 1) for _ in range(2))
    assert LARGE_WRITE < len(await first.read())
    read = []

    async def reads():
        read.append(await second.read())

    nursery.start_soon(reads)
    await wait_all_tasks_blocked()
    assert [] == read
    first.close()
    await wait_all_tasks_blocked()
    assert [True] == [len(data) > LARGE_WRITE for data in read]
    second.close()


async def test_reader_that_is_cancelled_while_it_waits_loses_nothing(large, mock_clock):
    """A ping comes while it waits. It goes on with the same frame."""
    ring = FrameRing(1, large)
    show(ring, LARGE_WRITE)
    first, second = (Watch(None, "t", "s", ring, 1) for _ in range(2))
    await first.read()
    mock_clock.autojump_threshold = 0
    with trio.move_on_after(15):
        await second.read()
    first.close()
    assert LARGE_WRITE < len(await second.read())
    second.close()


async def test_small_frames_need_no_place(large):
    """Whatever others are sent."""
    ring = FrameRing(1, large)
    show(ring, LARGE_WRITE)
    await Watch(None, "t", "s", ring, 1).read()
    show(ring, 10)
    assert 100 > len(await Watch(None, "t", "s", ring, 2).read())


@pytest.mark.process
async def test_large_message_of_the_store_is_read_elsewhere(nursery):
    """Its frames are those that were shown."""
    lines = LargeLines()
    nursery.start_soon(lines.run)
    call = b'{"type":"tool_use","id":"t","name":"n","input":"%s"}' % (b"x" * MB)
    content = b'{"type":"assistant","message":{"content":[%s]}}' % call
    frames = await LargeFrames(lines).frames_of(content)
    assert ["tool_use", "message"] == [frame.event for frame in frames]
    assert content == bytes(frames[-1].data)
    assert await LargeFrames(lines).frames_of(b"{}") is None
