"""What an agent does by itself after a command in the background has ended."""

import json

import pytest

from ash.testing import StubModel
from tests.support.daemon import running, settings

ENGINES = ["scripted", pytest.param("claude-agent", marks=pytest.mark.cli)]


@pytest.fixture(params=ENGINES)
async def us(request, data_dir):
    async with StubModel() as model:
        wanted = settings(
            data_dir,
            engine=request.param,
            anthropic_base_url=model.url,
            anthropic_api_key="sk-daemon",
        )
        async with running(wanted, other_tenant=False) as daemon:
            yield daemon.us


async def let_it_end(us, session):
    body = {"command": "touch go"}
    (await us.post(f"/api/sessions/{session}/exec", json=body)).raise_for_status()


async def begin(us, after=""):
    """A session with a command in the background; its watcher has seen the turn that began it."""
    await us.deploy()
    session = await us.create()
    prompt = "BACKGROUND: until [ -e go ]; do sleep 0.05; done"
    frames = await us.say(session, f"{prompt}\n{after}" if after else prompt)
    assert "completed" == frames[-1].value["reason"]
    return session, frames


async def test_end_of_a_command_is_a_turn_on_record(us):
    """Watched, stored and replayed as any other, with one `turn_complete` and one `done`."""
    session, asked = await begin(us, "BASH: echo mine")
    async with us.watching(session, f"?after={asked[-1].id}") as stream:
        await let_it_end(us, session)
        own = await stream.up_to("done")
    (start,) = [frame for frame in own if frame.event == "session_start"]
    assert ("task", session) == (start.value["origin"], start.value["sessionId"])
    (complete,) = [frame for frame in own if frame.event == "turn_complete"]
    assert "done: mine" == complete.value["result"]
    assert "completed" == own[-1].value["reason"]
    kinds = [frame.value["type"] for frame in own if frame.event == "message"]
    assert ("system", "result") == (kinds[0], kinds[-1])
    answer = await us.say(session, "next")
    (complete,) = [frame for frame in answer if frame.event == "turn_complete"]
    assert "echo: next" == complete.value["result"]
    assert "task_notification" not in str([frame.data for frame in answer])
    stored = [message["content"] for message in await us.history(session)]
    assert 1 == sum("task_notification" in content for content in stored)
    kinds = [event["type"] for event in await us.history(session, "events")]
    assert 3 == kinds.count("turn_complete")
    async with us.watching(session, f"?after={asked[-1].id}") as stream:
        assert own == await stream.up_to("done")


async def test_message_that_comes_meanwhile_is_a_second_one(us):
    """It is refused, or waits, or ends the turn, as in any other turn."""
    session, asked = await begin(us, "SLOW: 60 60")
    async with us.watching(session, f"?after={asked[-1].id}") as stream:
        await let_it_end(us, session)
        await stream.until("session_start")
        body = {"content": "two"}
        refused = await us.post(f"/api/sessions/{session}/messages", json=body)
        assert (409, True) == (refused.status_code, "turn is running" in refused.text)
        answer = await us.say(session, "three", options="?whenBusy=interrupt")
        own = await stream.up_to("done")
    assert ("interrupted", "completed") == (own[-1].value["reason"], answer[-1].value["reason"])
    (complete,) = [frame for frame in answer if frame.event == "turn_complete"]
    assert "echo: three" == complete.value["result"]


async def test_stop_says_what_was_cut(us):
    """The command ends with the sandbox, and the timeline names it."""
    session, _ = await begin(us)
    (await us.post(f"/api/sessions/{session}/stop")).raise_for_status()
    *_, last = [e["data"] for e in await us.history(session, "events") if e["type"] == "lifecycle"]
    assert {"action": "stopped", "cut": "until [ -e go ]; do sleep 0.05; done"} == json.loads(last)
