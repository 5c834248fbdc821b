"""What becomes of a session, at the moments that are hard to hit over HTTP."""

import msgspec
import pytest
import trio
import trio.testing
from msgspec import Raw

from ash.errors import BadRequest, Conflict, EngineFailed, Unavailable
from ash.protocol import Open, Query, Resume
from ash.session_options import SessionOptions
from ash.sessions.session_spec import NewSession
from ash.store.history import NewMessage
from tests.support.world import opened

TENANT = "default"


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


async def create(world, **more):
    wanted = NewSession(agent="helper", options=SessionOptions(**more))
    return (await world.sessions.create(TENANT, wanted)).id


async def lifecycle(world, session_id):
    rows = await world.store.events(TENANT, session_id, kind="lifecycle")
    return [msgspec.json.decode(row.data) for row in rows]


async def status(world, session_id):
    return (await world.sessions.get(TENANT, session_id)).status


async def say(world, session_id):
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query)
    return turn


async def sleep_a_second(_):
    await trio.sleep(1)


async def test_engine_is_resumed_with_what_it_was_opened_with(world, autojump_clock):
    """Every setting of the session, in a new process, and the conversation's id."""
    asked = {
        "model": "m",
        "system_prompt": "be brief",
        "mcp_servers": {"tools": {"url": "http://tools"}},
        "permission_mode": "default",
        "extra_env": {"A": "b"},
        "allowed_tools": ["Bash"],
        "betas": ["x"],
        "subagents": {"s": {}},
    }
    session_id = await create(world, **asked)
    (opened_with,) = [c for c in world.bridges[session_id].commands if isinstance(c, Open)]
    await world.sessions.stop(TENANT, session_id)
    await world.sessions.resume(TENANT, session_id)
    (resumed,) = [c for c in world.bridges[session_id].commands if isinstance(c, Resume)]
    for command in (opened_with, resumed):
        assert asked == {name: getattr(command, name) for name in asked}
    assert opened_with.session_id == resumed.session_id == session_id


async def test_session_stopped_while_it_starts_is_stopped(world, autojump_clock):
    """It has not failed; who waits for it is told what happened."""
    world.gate = trio.Event()
    refused = []

    async def wait_for_it():
        with pytest.raises(Conflict) as caught:
            await create(world)
        refused.append(caught.value.text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_it)
        await trio.sleep(1)
        (session_id,) = world.bridges
        assert "stopped" == (await world.sessions.stop(TENANT, session_id)).status
    assert refused[0].startswith("The session was stopped while it started")
    assert [{"action": "stopped"}] == await lifecycle(world, session_id)
    assert {} == world.bridges


async def test_session_that_starts_is_stopped_by_a_shutdown(world, autojump_clock):
    """It claims to run no more, and can be resumed; its creator is told to come back."""
    world.gate = trio.Event()

    async def wait_for_it():
        with pytest.raises(Unavailable, match="The server shut down while the session started"):
            await create(world)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_it)
        await trio.sleep(1)
        (session_id,) = world.bridges
        await world.sessions.shut_down(3)
    assert "stopped" == await status(world, session_id)
    assert [{"action": "stopped", "reason": "shutdown"}] == await lifecycle(world, session_id)


async def test_change_whose_caller_left_is_known(world, autojump_clock, monkeypatch):
    """What was committed holds: the next one is told of the status that it made."""
    session_id = await create(world)
    await world.sessions.pause(TENANT, session_id)
    monkeypatch.setattr(world._delays, "wait", sleep_a_second)
    with trio.move_on_after(0.5):
        await world.sessions.resume(TENANT, session_id)
    await trio.sleep(10)
    assert "active" == await status(world, session_id)
    live = world.sessions.statistics().sessions[session_id]
    assert await status(world, session_id) == live.session.status


@pytest.mark.parametrize("action", ["pause", "interrupt"])
async def test_agent_that_had_to_be_killed_leaves_its_session_paused(world, autojump_clock, action):
    """The turn ends as it was asked to; the session goes on with a new sandbox."""
    session_id = await create(world)
    world.bridges[session_id].agent.stubborn = True
    turn = await say(world, session_id)
    await getattr(world.sessions, action)(TENANT, session_id)
    await turn.finished.wait()
    await trio.sleep(1)
    assert "paused" == await status(world, session_id)
    assert {} == world.bridges
    assert "active" == (await world.sessions.resume(TENANT, session_id)).status


@pytest.mark.parametrize("action", ["pause", "stop"])
async def test_queued_message_resumes_its_session(world, autojump_clock, action):
    """A message with `resume=auto` that waited resumes a session that was put away meanwhile."""
    session_id = await create(world)
    await say(world, session_id)
    turns = []
    async with trio.open_nursery() as nursery:

        async def queue():
            query = Query(prompt=Raw(b'"next"'), session_id=session_id)
            turn, _ = await world.sessions.send(TENANT, session_id, query, "queue", resume="auto")
            turns.append(turn)

        nursery.start_soon(queue)
        await trio.testing.wait_all_tasks_blocked()
        await getattr(world.sessions, action)(TENANT, session_id)
    await turns[0].finished.wait()
    assert "active" == await status(world, session_id)


@pytest.mark.parametrize(("action", "after"), [("pause", "paused"), ("stop", "stopped")])
async def test_queued_message_is_told_what_became_of_its_session(
    world, autojump_clock, action, after
):
    """Without `resume` it is refused, in words that say the session's status."""
    session_id = await create(world)
    await say(world, session_id)
    async with trio.open_nursery() as nursery:

        async def queue():
            query = Query(prompt=Raw(b'"next"'), session_id=session_id)
            with pytest.raises(BadRequest, match=f"Session is {after}"):
                await world.sessions.send(TENANT, session_id, query, "queue")

        nursery.start_soon(queue)
        await trio.testing.wait_all_tasks_blocked()
        await getattr(world.sessions, action)(TENANT, session_id)


async def test_sandbox_that_dies_makes_its_session_an_error(world, autojump_clock):
    """Who asks for it at that moment gets a new one."""
    session_id = await create(world)
    world.bridges[session_id].kill()
    await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(1)
    assert "error" == await status(world, session_id)
    assert "active" == (await world.sessions.resume(TENANT, session_id)).status
    assert ["created", "error", "resumed"] == [
        each["action"] for each in await lifecycle(world, session_id)
    ]


async def test_engine_that_does_not_start_is_told_to_who_resumes(world, autojump_clock):
    """The session is an error then, with its reason in the timeline."""
    session_id = await create(world)
    await world.sessions.stop(TENANT, session_id)
    world.deaths = True
    world._delays.random.random = lambda: 0.0
    with pytest.raises(EngineFailed, match="no"):
        await world.sessions.resume(TENANT, session_id)
    assert {"action": "error", "error": "no"} == (await lifecycle(world, session_id))[-1]
    assert "error" == await status(world, session_id)


@pytest.mark.parametrize("action", ["pause", "stop"])
async def test_one_of_two_callers_wins(world, autojump_clock, action):
    """The other is told that it was too late; the timeline has it once."""
    session_id = await create(world)
    await say(world, session_id)
    answers = []

    async def ask():
        try:
            await getattr(world.sessions, action)(TENANT, session_id)
            answers.append("")
        except BadRequest as error:
            answers.append(error.text)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        nursery.start_soon(ask)
    status = {"pause": "paused", "stop": "stopped"}[action]
    assert ["", f'Cannot {action} session with status "{status}"'] == sorted(answers)
    assert ["created", status] == [row["action"] for row in await lifecycle(world, session_id)]


async def test_fork_of_a_session_whose_agent_sent_anything(world, autojump_clock):
    """What is stored of an agent may be any JSON: the fork goes on from its last own words."""
    session_id = await create(world)
    turn = await say(world, session_id)
    await turn.finished.wait()
    for content in ('"a string"', "[1]", '{"type":"assistant","uuid":1}'):
        live = world.sessions.statistics().sessions[session_id]
        said = [NewMessage(content, 1)]
        await world.store.append(session_id, live.generation, said, now="now")
    upto = len(await world.store.messages(TENANT, session_id))
    await say(world, session_id)
    fork = await world.sessions.fork(TENANT, session_id, upto)
    stored = await world.store.session_by_id(fork.id)
    assert [{"sessionId": session_id, "at": "u"}] == stored.settings.fork
