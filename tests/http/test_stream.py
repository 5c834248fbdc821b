"""`GET /api/sessions/:id/stream` on a whole daemon: who joins or comes back misses nothing."""

import json

import pytest
import trio

from tests.support.daemon import PATIENCE, running, settings

SLOW = "SLOW: 4 1.2"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def daemon(data_dir):
    async with running(settings(data_dir)) as daemon:
        yield daemon


@pytest.fixture
async def us(daemon):
    return daemon.us


@pytest.fixture
async def session(us):
    await us.deploy()
    return await us.create()


def events(frames):
    return [frame.event for frame in frames]


def lasting(frames):
    """What the store can give back."""
    return [frame for frame in frames if not frame.event.endswith("_delta")]


async def caught_up(us, session, after=0, until="done"):
    """What a client gets that comes back, up to the last `done` there is."""
    with trio.fail_after(PATIENCE):
        async with us.watching(session, f"?after={after}") as stream:
            return await stream.up_to(until)


async def test_watcher_sees_the_turns_that_follow(us, session):
    """The same frames as those who sent the messages, turn after turn, deltas included."""
    async with us.watching(session) as stream:
        assert "text/event-stream" == stream.headers["content-type"]
        assert "no-cache" == stream.headers["cache-control"]
        assert "*" == stream.headers["access-control-allow-origin"]
        for text in ("BURST: 5", "hello"):
            sent = await us.say(session, text, includePartialMessages=True)
            assert sent == await stream.up_to("done")


async def test_watcher_joins_in_mid_turn(us, session):
    """Without a cursor it begins with the turn that runs; a cursor leaves out what it has."""
    async with us.sending(session, SLOW, includePartialMessages=True) as turn:
        first = await turn.up_to("text_delta")
        async with (
            us.watching(session) as joined,
            us.watching(session, f"?after={first[0].id}") as back,
        ):
            sent = first + await turn.rest()
            assert sent == await joined.up_to("done")
            assert sent[1:] == await back.up_to("done")


async def test_last_event_id_goes_before_the_address(us, session):
    """An `EventSource` comes back with the header, and with the address that it began with."""
    sent = await us.say(session, "hello")
    async with us.watching(session, f"?after={sent[0].id}", last_id=sent[2].id) as stream:
        assert sent[3:] == await stream.up_to("done")
