"""Forks: a session that goes on from what another one has, which stays as it is."""

import json
from contextlib import asynccontextmanager

import pytest

from ash.testing import StubModel
from tests.support.daemon import running, settings

SLOW = "SLOW: 100 60"


@pytest.fixture(params=["scripted", pytest.param("claude-agent", marks=pytest.mark.cli)])
async def us(request, data_dir):
    """A client of a daemon with an agent, on each engine that can fork."""
    async with forking(data_dir, request.param) as us:
        yield us


@pytest.fixture
async def scripted(data_dir):
    async with forking(data_dir, "scripted") as us:
        yield us


@asynccontextmanager
async def forking(data_dir, engine):
    async with StubModel() as model:
        wanted = settings(data_dir, engine=engine, anthropic_base_url=model.url)
        async with running(wanted, other_tenant=False) as daemon:
            await daemon.us.deploy()
            yield daemon.us


async def forked(us, session, options="", **body):
    """The fork's id."""
    response = await us.post(f"/api/sessions/{session}/fork{options}", json=body)
    assert 201 == response.status_code, response.text
    made = response.json()["session"]
    assert ("paused", session) == (made["status"], made["parentSessionId"])
    return made["id"]


async def change(us, session, action):
    (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()


async def recalls(us, session):
    """What its agent was ever asked."""
    frames = await us.say(session, "RECALL", options="?resume=auto")
    results = [f.value for f in frames if f.event == "message" and f.value["type"] == "result"]
    return json.loads(results[0]["result"])


async def reads(us, session, name="note.txt"):
    response = await us.get(f"/api/sessions/{session}/files/{name}")
    return response.text if response.status_code == 200 else None


async def contents(us, session):
    return [message["content"] for message in await us.history(session)]


@pytest.mark.parametrize("state", ["active", "pause", "stop"])
async def test_fork_has_what_its_parent_has(us, state):
    """Messages, memory and files, from a parent that lives, is paused or has no sandbox."""
    parent = await us.create()
    await us.say(parent, "WRITE: note.txt kept")
    if state != "active":
        await change(us, parent, state)
    before = await us.status(parent), await contents(us, parent)
    fork = await forked(us, parent)
    assert before == (await us.status(parent), await contents(us, fork))
    assert "kept" == await reads(us, fork)
    assert ["WRITE: note.txt kept", "RECALL"] == await recalls(us, fork)


async def test_fork_and_parent_go_their_own_ways(us):
    """Neither knows what is said to the other, or sees the files that it writes."""
    parent = await us.create()
    await us.say(parent, "one")
    fork = await forked(us, parent)
    await us.say(fork, "WRITE: of-fork.txt here", options="?resume=auto")
    await us.say(parent, "WRITE: of-parent.txt there")
    assert ["one", "WRITE: of-fork.txt here", "RECALL"] == await recalls(us, fork)
    assert ["one", "WRITE: of-parent.txt there", "RECALL"] == await recalls(us, parent)
    assert (None, "here") == (
        await reads(us, fork, "of-parent.txt"),
        await reads(us, fork, "of-fork.txt"),
    )
    assert None is await reads(us, parent, "of-fork.txt")


async def test_fork_in_the_midst_of_a_turn_has_none_of_it(us):
    """It begins after the last finished turn; the turn that runs goes on to its end."""
    parent = await us.create()
    await us.say(parent, "one")
    async with us.sending(parent, "SLOW: 5 1", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        before = await contents(us, parent)
        fork = await forked(us, parent)
        assert "completed" == (await stream.rest())[-1].value["reason"]
    forks = await contents(us, fork)
    assert before[: len(forks)] == forks
    assert '{"type":"user","content":"SLOW: 5 1"}' not in forks
    assert ["one", "RECALL"] == await recalls(us, fork)
    assert ["one", "SLOW: 5 1", "RECALL"] == await recalls(us, parent)


async def test_fork_in_the_midst_of_the_first_turn_begins_anew(us):
    """There is no finished turn to go on from."""
    parent = await us.create()
    async with us.sending(parent, SLOW, includePartialMessages=True) as stream:
        await stream.until("text_delta")
        fork = await forked(us, parent)
        await change(us, parent, "interrupt")
    assert [] == await contents(us, fork)
    assert ["RECALL"] == await recalls(us, fork)


@pytest.mark.parametrize(
    ("option", "reason"), [("queue", "completed"), ("interrupt", "interrupted")]
)
async def test_fork_may_wait_for_the_turn_or_end_it(scripted, option, reason):
    """Then it has all of the turn, messages and files alike."""
    parent = await scripted.create()
    async with scripted.sending(parent, "SLOW: 5 1", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        fork = await forked(scripted, parent, f"?whenBusy={option}")
        assert reason == (await stream.rest())[-1].value["reason"]
    assert await contents(scripted, parent) == await contents(scripted, fork)


async def test_fork_at_an_earlier_message(us):
    """It knows what was said up to there, and nothing of what came after."""
    parent = await us.create()
    await us.say(parent, "one")
    after = len(await us.history(parent))
    await us.say(parent, "two")
    fork = await forked(us, parent, afterSequence=after)
    assert (await contents(us, parent))[:after] == await contents(us, fork)
    assert ["one", "RECALL"] == await recalls(us, fork)
    assert ["one", "two", "RECALL"] == await recalls(us, parent)


@pytest.mark.parametrize("after", [1, 2])
async def test_fork_before_the_first_answer(us, after):
    """It knows the prompt, and nothing is said to be broken."""
    parent = await us.create()
    await us.say(parent, "one")
    fork = await forked(us, parent, afterSequence=after)
    frames = await us.say(fork, "RECALL", options="?resume=auto")
    assert "recovered" not in [frame.event for frame in frames]
    assert ["one", "RECALL", "RECALL"] == await recalls(us, fork)


async def test_fork_of_a_fork_that_never_ran(us):
    """It goes on from what the first parent had."""
    parent = await us.create()
    await us.say(parent, "WRITE: note.txt kept")
    fork = await forked(us, await forked(us, parent))
    assert "kept" == await reads(us, fork)
    assert ["WRITE: note.txt kept", "RECALL"] == await recalls(us, fork)


async def test_fork_has_its_parents_settings(scripted):
    """Model, system prompt and what was configured, and its timeline says where it is from."""
    parent = await scripted.create(model="m", systemPrompt="be brief", disallowedTools=["Read"])
    fork = await forked(scripted, parent)
    frames = await scripted.say(fork, "hi", options="?resume=auto")
    init = next(f.value for f in frames if f.event == "message" and f.value["type"] == "system")
    assert ("m", False) == (init["model"], "Read" in init["tools"])
    (begun, *_) = await scripted.history(fork, "events")
    assert {"action": "forked", "from": parent} == json.loads(begun["data"])


@pytest.mark.parametrize(
    ("options", "body", "error"),
    [
        ("", {"afterSequence": 9}, "afterSequence: the last finished message is 0, not 9"),
        ("", {"afterSequence": -1}, "afterSequence: "),
        ("", {"afterSequence": "1"}, "afterSequence: "),
        ("?whenBusy=wait", {}, "whenBusy: expected one of queue, interrupt"),
    ],
)
async def test_fork_that_can_not_be_is_refused(scripted, options, body, error):
    """The error names what does not fit, and no session is made."""
    parent = await scripted.create()
    response = await scripted.post(f"/api/sessions/{parent}/fork{options}", json=body)
    assert 400 == response.status_code
    assert response.json()["error"].startswith(error)
    assert 1 == (await scripted.get("/api/sessions")).json()["total"]


async def test_fork_of_another_tenants_session(data_dir):
    """There is no such session."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        assert 404 == (await daemon.them.post(f"/api/sessions/{session}/fork")).status_code
