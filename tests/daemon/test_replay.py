"""Streams are replayed after a daemon was killed: by its clients, over HTTP, from the store."""

from itertools import groupby

import pytest
import trio

from ash import events
from tests.support.crash import Ashd
from tests.support.daemon import KEY, Client

# With deltas, tools, a failure, and more than fits into one write.
TURNS = ("SLOW: 3 0.1", "BASH: echo hello", "FAIL: 429", "BIG: 100", "hello")

CUT_PROMPT = "SLOW: 600 60"


def lasts(frame):
    """Deltas do not, nor do the messages that bring them."""
    if frame.event == "message":
        return events.read(frame.data).durable
    return not frame.event.endswith("_delta")


def expected(shown, end, after):
    """What a client gets that has had the frames up to `after`: what lasts, and (from, to) of gaps.

    `end` is the `done` of the turn that was cut; the frame before it is its error.
    """
    found = []
    for kept, frames in groupby((f for f in shown if f.id > after), lasts):
        each = list(frames)
        found += each if kept else [(each[0].id, each[-1].id + 1)]
    error = end.id - 1
    if shown[-1].id < error - 1 and after < error - 1:
        # Behind the last frame that was shown there may have been more: nobody knows.
        begun = found.pop()[0] if found and isinstance(found[-1], tuple) else None
        found.append((begun or max(after, shown[-1].id) + 1, error))
    return found


def told(frames):
    """As `expected` has it."""
    return [
        (frame.value["requested"], frame.value["earliest"]) if frame.event == "gap" else frame
        for frame in frames
    ]


async def replayed(us, session, *, after=None, last_id=None, end=None):
    """What comes up to the last `done` there is, or to the frame `end`."""
    query = "" if after is None else f"?after={after}"
    frames = []
    with trio.fail_after(30):
        async with us.watching(session, query, last_id) as stream:
            while not frames or frames[-1].id != end:
                frames.append(await anext(stream))
                if end is None and frames[-1].event == "done" and is_lost(frames[-1]):
                    break
    return frames


def is_lost(frame):
    return frame.event == "done" and frame.value["reason"] == "lost"


@pytest.fixture
async def ashd(data_dir):
    ashd = Ashd(data_dir, "--engine", "scripted")
    await ashd.start()
    yield ashd
    await ashd.stop()


async def play(ashd):
    """Some turns, and one in which the daemon is killed: the session, and all that was shown."""
    shown = []
    async with Client(ashd.url, KEY) as us:
        await us.deploy()
        session = await us.create()
        for prompt in TURNS:
            shown += await us.say(session, prompt, includePartialMessages=True)
        async with us.sending(session, CUT_PROMPT, includePartialMessages=True) as stream:
            for _ in range(5):
                shown += await stream.up_to("text_delta")
            await ashd.kill()
    return session, shown


async def test_what_was_shown_comes_back_after_a_kill(ashd):
    """From every id on: what lasts byte for byte, gaps for what doesn't, then the turn's end."""
    session, shown = await play(ashd)
    await ashd.start()
    async with Client(ashd.url, KEY) as us:
        *_, error, end = await replayed(us, session, after=0)
        assert ("error", "lost") == (error.event, end.value["reason"])
        assert {"text_delta", "tool_use", "tool_result", "error"} < {f.event for f in shown}
        for after in range(shown[-1].id + 1):
            *found, last_error, last = await replayed(us, session, after=after)
            assert expected(shown, end, after) == told(found), after
            assert (error, end) == (last_error, last)


async def test_last_event_id_is_as_good_as_after(ashd):
    """And better, if both are there: an `EventSource` asks for the address it began with."""
    session, shown = await play(ashd)
    await ashd.start()
    async with Client(ashd.url, KEY) as us:
        for after in (0, shown[9].id, shown[-1].id):
            by_query = await replayed(us, session, after=after)
            assert by_query == await replayed(us, session, last_id=after)
            assert by_query == await replayed(us, session, after=1, last_id=after)


async def test_replay_is_the_same_after_any_restart(ashd):
    """A day later, or after being killed again: the store has it, not the process."""
    session, shown = await play(ashd)
    replays = []
    for end in (ashd.kill, ashd.stop, ashd.kill):
        await ashd.start()
        async with Client(ashd.url, KEY) as us:
            replays.append(await replayed(us, session, after=0))
        await end()
    assert replays[0] == replays[1] == replays[2]
    assert [f for f in shown if lasts(f)] == [f for f in replays[0][:-2] if f.event != "gap"]


async def test_client_that_comes_back_follows_what_comes_next(ashd):
    """Past the end of the turn that was cut, over into the next one, which is live."""
    session, shown = await play(ashd)
    await ashd.start()
    async with Client(ashd.url, KEY) as us:
        async with us.watching(session, last_id=shown[-1].id) as stream:
            lost = await stream.up_to("done")
            assert 200 == (await us.post(f"/api/sessions/{session}/resume")).status_code
            said = await us.say(session, "hello again")
            assert said == await stream.up_to("done")
        assert lost[-1].id < said[0].id
        *replay, _ = await replayed(us, session, after=lost[-1].id - 2, end=said[-1].id)
        assert [*lost[-2:], *said[:-1]] == replay
