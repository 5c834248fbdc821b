"""A watcher's way: what the store has, what is live, and what is named as missing."""

import json
from itertools import pairwise

import pytest
import trio
from msgspec import Raw

from ash.protocol import EngineMessage
from ash.sessions import frame_ring as stream_module
from ash.sessions import watch as watch_module
from ash.sessions.frame_ring import FrameRing
from ash.sessions.watch import Watch
from tests.sessions.conftest import SESSION

TOOL_USE = EngineMessage(
    Raw(
        b'{"type":"assistant","message":{"content":[{"type":"tool_use","id":"a","name":"B"},'
        b'{"type":"tool_use","id":"b","name":"B"}]}}'
    )
)

DELTA = EngineMessage(
    Raw(b'{"type":"stream_event","event":{"delta":{"type":"text_delta","text":"y"}}}')
)
FAILED = EngineMessage(Raw(b'{"type":"result","subtype":"error_during_execution"}'))


class Brake:
    """Cancels every other one that comes by."""

    def __init__(self):
        self.calls = 0
        self.scope = None

    async def wait(self):
        self.calls += 1
        if self.calls % 2:
            self.scope.cancel()
        await trio.lowlevel.checkpoint()


@pytest.fixture
def play(scene, result, end):
    """Runs a turn with these batches of messages, to its end or (`open_`) short of it."""

    async def play(*batches, open_=False, last=result):
        turn = await scene.accepted()
        for batch in batches if open_ else [*batches, [last]]:
            await scene.show(*batch)
        if not open_:
            await scene.sandbox.say(end)
            await turn.finished.wait()
        await trio.testing.wait_all_tasks_blocked()

    return play


def split(data):
    """The frames by their ids, each as the bytes that go over the wire."""
    blocks = [block + b"\n\n" for block in bytes(data).split(b"\n\n") if block]
    return [(int(block.split(b"\n", 1)[0][4:]), block) for block in blocks]


def shown(ring):
    return split(b"".join(ring._frames))


def lasting(frames):
    return [(number, block) for number, block in frames if b"_delta" not in block]


def restarted(scene, next_frame=None):
    """The stream that a daemon has which starts after this one."""
    return FrameRing(next_frame or scene.rows("SELECT next_frame FROM sessions")[0][0])


def watch(scene, after=0, ring=None):
    return Watch(scene.store, "default", SESSION, ring or scene.ring, after + 1)


async def read(watcher):
    """All that comes without waiting for what is published."""
    watcher._ring.end()
    written = bytearray()
    while data := await watcher.read():
        written += data
    watcher._ring.ended = False
    return split(written)


def gaps(frames):
    """What is missing, as (requested, earliest, latest)."""
    found = [json.loads(block.split(b"data: ")[1]) for _, block in frames if b"event: gap" in block]
    return [tuple(gap.values()) for gap in found]


def assert_accounted_for(frames):
    """Each id between the first frame and the last is that of a frame, or lies in a gap."""
    named = {number for number, block in frames if b"event: gap" not in block}
    for requested, earliest, _ in gaps(frames):
        assert not named & set(range(requested, earliest))
        named |= set(range(requested, earliest))
    first = frames[0][0] if b"event: gap" not in frames[0][1] else gaps(frames)[0][0]
    assert set(range(first, frames[-1][0] + 1)) == named


async def test_recent_frames_come_from_the_ring(scene, play, text):
    """All of them, deltas too, and the store is not asked."""
    await play([DELTA], [text])
    scene.store.asked.clear()
    assert shown(scene.ring)[2:] == await read(watch(scene, after=8))
    assert [] == scene.store.asked


async def test_replay_is_what_was_shown(scene, play, text):
    """After a restart the same bytes come under the same ids, granular frames included."""
    await play([text], [TOOL_USE])
    await play(last=FAILED)
    live = shown(scene.ring)
    events = [block.split(b"\n")[1] for _, block in live]
    assert {b"event: tool_use", b"event: error", b"event: done"} < set(events)
    for after in range(live[-1][0] + 1):
        expected = [frame for frame in live if frame[0] > after]
        assert expected == await read(watch(scene, after, restarted(scene)))


async def test_replay_of_a_later_ash_says_what_was_said(scene, play, monkeypatch):
    """The version in `session_start` is that of the ash which ran the turn."""
    await play()
    live = shown(scene.ring)
    monkeypatch.setattr(watch_module, "__version__", "99.0")
    assert live == await read(watch(scene, 0, restarted(scene)))


async def test_lost_deltas_are_named_once(scene, play, text):
    """Each hole between what lasts is one gap, whose id is the last that is missing."""
    await play([DELTA, DELTA], [text], [DELTA])
    live = shown(scene.ring)
    # session_start 7, deltas with their messages 8 to 11, text 12, delta 13 and 14, …
    ring = restarted(scene)
    found = await read(watch(scene, 0, ring))
    latest = ring.next_id - 1
    assert [(8, 12, latest), (13, 15, latest)] == gaps(found)
    assert [11, 14] == [number for number, block in found if b"event: gap" in block]
    named = [frame for frame in found if b"event: gap" not in frame[1]]
    assert [frame for frame in live if frame[0] in {7, 12} or frame[0] >= 15] == named
    assert all(one < other for (one, _), (other, _) in pairwise(found))


async def test_gap_begins_where_the_client_was(scene, play, text):
    """Who has had some of the deltas misses only the rest; who has had all misses none."""
    await play([DELTA, DELTA], [text])
    assert [9] == [gap[0] for gap in gaps(await read(watch(scene, 8, restarted(scene))))]
    assert [] == gaps(await read(watch(scene, 11, restarted(scene))))


async def test_ids_that_were_skipped_between_turns_are_no_gap(scene, play):
    """A restart skips what was reserved; nothing was shown there."""
    await play()
    before = shown(scene.ring)
    last = before[-1][0]
    scene.ring = restarted(scene)
    await play()
    after = shown(scene.ring)
    assert after[0][0] > last + 1000
    assert before + after == await read(watch(scene, 0))
    assert after == await read(watch(scene, last))
    assert after == await read(watch(scene, last + 5))


async def test_what_a_crash_took_along_is_named(scene, play, text):
    """Between the last message of a cut turn and its end deltas may have been shown."""
    await play([text], [DELTA], open_=True)
    live = shown(scene.ring)
    await scene.store.recover("me", "2026-01-02T03:04:06.000Z")
    ring = restarted(scene)
    found = await read(watch(scene, 0, ring))
    error, done = ring.next_id - 2, ring.next_id - 1
    assert lasting(live)[:2] == found[:2]
    assert [(9, error, done)] == gaps(found)
    assert [error - 1, error, done] == [number for number, _ in found[2:]]
    assert b'"reason":"lost"' in found[-1][1]


async def test_turn_that_could_not_be_stored_leaves_a_gap(scene, play, text):
    """Its stream was broken off: what came after its last message is not known to the store."""
    await play([text], open_=True)
    ring = restarted(scene)
    found = await read(watch(scene, 8, ring))
    assert [(9, ring.next_id, ring.next_id - 1)] == gaps(found)


@pytest.mark.parametrize("page", [1, 200])
async def test_what_the_ring_forgot_comes_from_the_store(scene, play, text, monkeypatch, page):
    """In mid-turn: what lasts up to the ring's first frame, the gap up to it, then the ring."""
    monkeypatch.setattr(watch_module, "PAGE", page)
    monkeypatch.setattr(stream_module, "RING_BYTES", 600)
    monkeypatch.setattr(stream_module, "RING_LARGEST", 1)
    await play([text], [DELTA] * 4, [DELTA], [text], open_=True)
    earliest = scene.ring.earliest
    assert 10 < earliest < scene.ring.next_id - 1
    found = await read(watch(scene, 0))
    assert [7, 8, earliest - 1, *range(earliest, scene.ring.next_id)] == [n for n, _ in found]
    assert [(9, earliest, scene.ring.next_id - 1)] == gaps(found)


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_long_history_is_read_in_pages(scene, play, text, monkeypatch, page):
    """Nothing is lost or doubled where one page ends."""
    for _ in range(3):
        await play([text], [TOOL_USE])
    monkeypatch.setattr(watch_module, "PAGE", page)
    assert shown(scene.ring) == await read(watch(scene, 0, restarted(scene)))


async def test_write_is_bounded(scene, play, monkeypatch):
    """However long the history is, a write ends behind the frame that fills it."""
    big = EngineMessage(Raw(b'{"type":"x","text":"' + b"x" * 1000 + b'"}'))
    await play(*[[big]] * 6)
    monkeypatch.setattr(watch_module, "WRITE_BYTES", 1500)
    watcher = watch(scene, 0, restarted(scene))
    writes = [await watcher.read() for _ in range(3)]
    assert [3, 2, 2] == [len(split(write)) for write in writes]


async def test_message_of_many_frames_is_more_than_one_write(scene, play, monkeypatch):
    """Each frame may be as large as the message, and a slow watcher holds one of them."""
    await play([TOOL_USE], [TOOL_USE])
    monkeypatch.setattr(watch_module, "WRITE_BYTES", 1)
    watcher = watch(scene, 0, restarted(scene))
    writes = [await watcher.read() for _ in shown(scene.ring)]
    assert [[frame] for frame in shown(scene.ring)] == [split(write) for write in writes]


async def test_cursor_of_the_future_is_named(scene, play):
    """A client with an id that was never given out is told what there is, and follows."""
    await play()
    next_id = scene.ring.next_id
    found = await read(watch(scene, 5000))
    assert [(5001, next_id, next_id - 1)] == gaps(found)
    watcher = watch(scene, 5000)
    await watcher.read()
    await play()
    assert next_id == split(await watcher.read())[0][0]


async def test_read_that_is_cancelled_loses_nothing(scene, play, text):
    """Whichever step it was in: a ping does not cost a frame."""
    await play([text], [TOOL_USE])
    ring = restarted(scene)
    ring.end()
    brake = Brake()
    scene.store.gates = dict.fromkeys(("in_turn", "frames_after", "messages"), brake)
    watcher, written = watch(scene, 0, ring), b""
    while not written.endswith(shown(scene.ring)[-1][1]):
        with trio.CancelScope() as brake.scope:
            written += await watcher.read()
    assert shown(scene.ring) == split(written)
    assert brake.calls > 8


async def test_watcher_that_falls_behind_goes_on_with_what_lasts(scene, play, text, monkeypatch):
    """The deltas that it missed are named, and then it follows the ring again, time after time."""
    watcher = watch(scene, 0)
    await play([text], open_=True)
    found = split(await watcher.read())
    monkeypatch.setattr(stream_module, "RING_BYTES", 600)
    monkeypatch.setattr(stream_module, "RING_LARGEST", 1)
    for _ in range(3):
        for _ in range(4):
            await scene.show(DELTA, DELTA, text)
        assert watcher.cursor < scene.ring.earliest
        while watcher.cursor < scene.ring.next_id:
            found += split(await watcher.read())
    ids = [number for number, _ in found]
    assert sorted(set(ids)) == ids
    assert [b"event: message"] * 13 == [
        block.split(b"\n")[1] for _, block in lasting(found) if b'"yes"' in block
    ]
    assert gaps(found)
    assert_accounted_for(found)


async def test_end_of_the_session_ends_its_watchers(scene, play, text):
    """They get what there is, from the store or the ring, and then nothing."""
    await play([text])
    for ring in (scene.ring, restarted(scene)):
        watcher = watch(scene, 0, ring)
        assert not watcher.is_ending
        assert shown(scene.ring) == await read(watcher)
        ring.end()
        assert watcher.is_ending
        assert b"" == await watcher.read()


async def test_history_of_another_tenant_is_not_read(scene, play):
    """The store itself asks whose session it is."""
    await play()
    ring = restarted(scene)
    assert [] == await read(Watch(scene.store, "them", SESSION, ring, 1))
