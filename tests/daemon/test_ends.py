"""Over HTTP: whoever has read `done` is answered by what it says, at once."""

import json
import os
import signal
from contextlib import suppress
from functools import partial

import pytest

from ash.lifecycle import not_active
from ash.sessions.turn import Turn
from tests.support.daemon import running, settings
from tests.support.processes import alive, descendants

SLOW = "SLOW: 100 60"
SILENCE = 1.0


@pytest.fixture
async def us(data_dir, monkeypatch):
    monkeypatch.setattr(Turn.stop, "__defaults__", (0.2,))
    async with running(settings(data_dir, turn_silence_timeout=SILENCE)) as daemon:
        yield daemon.us


def send_signal(number):
    for pid in descendants(os.getpid()):
        if alive(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


async def kill(us, session):
    send_signal(signal.SIGKILL)


async def freeze(us, session):
    send_signal(signal.SIGSTOP)


async def freeze_and_interrupt(us, session):
    await freeze(us, session)
    await us.post(f"/api/sessions/{session}/interrupt")


async def ask(us, session, action):
    await us.post(f"/api/sessions/{session}/{action}")


async def end(us, session):
    await us.delete(f"/api/sessions/{session}")


WAYS = {
    "interrupted": (partial(ask, action="interrupt"), "interrupted", "active"),
    "paused": (partial(ask, action="pause"), "stopped", "paused"),
    "stopped": (partial(ask, action="stop"), "stopped", "stopped"),
    "ended": (end, "stopped", "ended"),
    "killed": (kill, "error", "error"),
    "silent": (freeze, "error", "error"),
    "stubborn": (freeze_and_interrupt, "interrupted", "paused"),
}


@pytest.fixture
async def ended(us, agent, nursery):
    """Ends a turn in one of these ways; the session, in the instant in which `done` was read."""

    async def end_turn(way):
        act, reason, status = WAYS[way]
        session = await us.create()
        await us.say(session, "one")
        async with us.sending(session, SLOW, includePartialMessages=True) as stream:
            await stream.until("text_delta")
            nursery.start_soon(act, us, session)
            assert reason == (await stream.until("done")).value["reason"]
        return session, status

    return end_turn


@pytest.mark.parametrize("way", WAYS)
async def test_status_is_the_one_that_done_says(us, ended, way):
    """Also as the timeline tells it."""
    session, status = await ended(way)
    assert status == await us.status(session)
    rows = await us.history(session, "events")
    told = [json.loads(row["data"])["action"] for row in rows if row["type"] == "lifecycle"]
    assert ["created"] + [status] * (status != "active") == told


@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"interrupted", "ended"}])
async def test_message_after_done_is_refused_with_the_status(us, ended, way):
    """Not sent to a sandbox that is on its way out."""
    session, status = await ended(way)
    answer = await us.post(f"/api/sessions/{session}/messages", json={"content": "hi"})
    assert (400, not_active(status).text) == (answer.status_code, answer.json()["error"])


@pytest.mark.parametrize("way", [way for way in WAYS if way != "ended"])
async def test_resume_after_done_brings_it_back(us, ended, way):
    """The next message is answered by an agent that remembers the last one."""
    session, _ = await ended(way)
    answer = await us.post(f"/api/sessions/{session}/resume")
    assert (200, "active") == (answer.status_code, answer.json()["session"]["status"])
    frames = await us.say(session, "RECALL")
    assert "completed" == frames[-1].value["reason"]
    said = next(f.value for f in frames if f.event == "message" and f.value["type"] == "result")
    assert "one" == json.loads(said["result"])[0]


async def test_message_after_done_may_resume(us, ended):
    """With `resume=auto`, right after the sandbox was killed."""
    session, _ = await ended("killed")
    frames = await us.say(session, "hello", options="?resume=auto")
    assert "completed" == frames[-1].value["reason"]
