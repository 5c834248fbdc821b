"""A reader of one turn: all of its frames, none of the next one's."""

import pytest
import trio

from ash.sessions import frame_ring
from ash.sessions.frame_ring import RingEnded
from ash.sessions.watch import TurnFrames


@pytest.fixture
def ended(scene, text, result, end):
    async def play():
        turn = await scene.accepted()
        await scene.sandbox.say(text, result, end)
        await turn.finished.wait()
        return turn

    return play


async def read_to_end(frames):
    data = b""
    while piece := await frames.read():
        data += piece
    return data


async def test_reader_of_a_turn_gets_none_of_the_next(scene, ended):
    """However late it comes."""
    first, second = await ended(), await ended()
    data = await read_to_end(TurnFrames(first, scene.ring))
    ids = [int(line[4:]) for line in data.split(b"\n") if line.startswith(b"id: ")]
    assert [*range(first.first_frame, first.last_frame + 1)] == ids
    assert first.last_frame + 1 == second.first_frame


async def test_reader_of_a_turn_is_told_the_end_as_often_as_it_asks(scene, ended):
    """Nothing comes, and nothing is waited for."""
    frames = TurnFrames(await ended(), scene.ring)
    await read_to_end(frames)
    assert [b"", b""] == [await frames.read(), await frames.read()]


def named(data):
    """The names of the events, each with its id."""
    blocks = [block.split(b"\n") for block in data.split(b"\n\n") if block]
    return [(int(lines[0][4:]), lines[1][7:].decode()) for lines in blocks]


@pytest.fixture
def burst(text, delta):
    return [delta, delta, text]


@pytest.fixture
def last(result, end):
    return [result, end]


@pytest.fixture
def tiny_ring(monkeypatch):
    monkeypatch.setattr(frame_ring, "RING_BYTES", 600)
    monkeypatch.setattr(frame_ring, "RING_LARGEST", 1)


@pytest.mark.usefixtures("tiny_ring")
@pytest.mark.parametrize("later", [0, 3])
async def test_reader_that_falls_behind_gets_what_lasts_and_the_end(scene, burst, last, later):
    """The deltas that it missed are one gap, also when later turns have filled the ring."""
    turn = await scene.accepted()
    frames = TurnFrames(turn, scene.ring)
    first = await frames.read()
    for _ in range(4):
        await scene.show(*burst)
    await scene.sandbox.say(*last)
    await turn.finished.wait()
    for _ in range(later):
        other = await scene.accepted()
        await scene.show(*burst)
        await scene.show(*burst)
        await scene.sandbox.say(*last)
        await other.finished.wait()
    assert scene.ring.earliest > turn.first_frame + 1
    got = named(first + await read_to_end(frames))
    ids = [number for number, _ in got]
    assert sorted(set(ids)) == ids
    assert turn.last_frame == ids[-1]
    names = [name for _, name in got]
    assert ("session_start", ["turn_complete", "message", "done"]) == (names[0], names[-3:])
    whole = [number for number, name in got if name == "message"]
    lasting = [number for (number,) in scene.rows("SELECT frame FROM messages WHERE frame > 0")]
    assert set(lasting) & set(range(turn.last_frame)) <= set(whole)
    assert "gap" in names


@pytest.mark.usefixtures("tiny_ring")
async def test_reader_that_reads_at_its_own_pace_misses_no_message(scene, burst, last):
    """A turn that goes on while it reads overtakes it again and again, and waits for it never."""
    turn = await scene.accepted()
    frames = TurnFrames(turn, scene.ring)
    data = b""
    for number in range(20):
        await scene.show(*burst)
        if number % 3 == 0:
            data += await frames.read()
    await scene.sandbox.say(*last)
    await turn.finished.wait()
    got = named(data + await read_to_end(frames))
    ids = [number for number, _ in got]
    assert sorted(set(ids)) == ids
    assert (turn.last_frame, "done") == got[-1]
    lasting = {number for (number,) in scene.rows("SELECT frame FROM messages WHERE frame > 0")}
    assert 21 == len(lasting)
    assert lasting <= {number for number, name in got if name == "message"}
    assert [name for _, name in got].count("gap") > 1


async def test_turn_without_a_stored_end_breaks_off(scene):
    """A stream that ended before the turn's `done` does not look like one that is complete."""
    turn = await scene.accepted()
    frames = TurnFrames(turn, scene.ring)
    await frames.read()
    scene.ring.end()
    with trio.fail_after(5), pytest.raises(RingEnded):
        await frames.read()
