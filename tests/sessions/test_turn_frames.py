"""A reader of one turn: all of its frames, none of the next one's."""

import pytest

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
