"""An interrupt ends the turn that it was meant for, in whichever moment it comes."""

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.errors import Unavailable
from ash.protocol import Interrupt, Query
from ash.sessions.session_spec import NewSession
from ash.sessions.turn import STEP_SECONDS, Turn, TurnContext
from tests.sessions.conftest import SESSION, FixedClock
from tests.support.world import opened

TENANT = "default"


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


async def _send(world, session_id, turns, when_busy="interrupt"):
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query, when_busy)
    turns.append(turn)


@pytest.fixture
async def waiting(world, nursery, autojump_clock):
    """A session whose turn runs, and two messages that wait for its end; the turns that began."""
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    turns = []
    await _send(world, session_id, turns)
    for _ in range(2):
        nursery.start_soon(_send, world, session_id, turns, "queue")
        await wait_all_tasks_blocked()
    assert 1 == len(turns)
    return session_id, turns


async def test_interrupt_follows_its_query(scene):
    """One that comes before the query was sent waits for it, and names it."""
    turn = scene.begin()
    scene.nursery.start_soon(turn.stop, "interrupted")
    await scene.sandbox.heard(Interrupt)
    query, interrupt = scene.sandbox.commands
    assert (turn.id, turn.id) == (query.id, interrupt.turn)


@pytest.mark.parametrize("seed", range(6))
async def test_messages_that_interrupt_at_once_follow_one_another(
    world, nursery, autojump_clock, seed
):
    """Each begins, all but the last are interrupted, and nobody waits for a step that kills."""
    trio._core._run._r.seed(seed)
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    turns = []
    async with trio.open_nursery() as sending:
        for _ in range(3):
            sending.start_soon(_send, world, session_id, turns)
    assert trio.current_time() < STEP_SECONDS
    assert await world.sessions.interrupt(TENANT, session_id)
    assert ["interrupted"] * 3 == [turn.reason for turn in turns]
    assert "active" == (await world.sessions.get(TENANT, session_id)).status


async def test_message_that_interrupts_ends_what_waits_before_it(world, waiting):
    """Those messages begin first, in their order, and nobody waits until one completes."""
    session_id, turns = waiting
    begun = trio.current_time()
    await _send(world, session_id, turns)
    assert ["interrupted"] * 3 + [None] == [turn.reason for turn in turns]
    assert trio.current_time() - begun < STEP_SECONDS
    stored = await world.sessions.messages(TENANT, session_id, after=0, limit=100)
    assert 4 == [message.role for message in stored].count("user")


async def test_fork_that_interrupts_ends_what_waits_before_it(world, waiting):
    """It has what they had said, and need not wait for more."""
    session_id, turns = waiting
    begun = trio.current_time()
    await world.sessions.fork(TENANT, session_id, None, "interrupt")
    assert ["interrupted"] * 3 == [turn.reason for turn in turns]
    assert trio.current_time() - begun < STEP_SECONDS


async def test_message_that_interrupts_ends_nothing_that_waits_behind_it(
    world, nursery, autojump_clock, waiting
):
    """A message that comes later and waits lets it finish."""
    session_id, turns = waiting
    nursery.start_soon(_send, world, session_id, turns)
    await wait_all_tasks_blocked()
    await _send(world, session_id, turns, "queue")
    assert ["interrupted"] * 3 + ["completed", None] == [turn.reason for turn in turns]


async def test_message_that_interrupts_and_is_taken_back_lets_the_others_finish(
    world, autojump_clock, waiting
):
    """It has ended the turn that ran; what waited before it is not ended for nothing."""
    session_id, turns = waiting
    bridge = world.bridges[session_id]
    bridge.agent.stubborn = True
    with trio.move_on_after(STEP_SECONDS / 2):
        await _send(world, session_id, turns)
    bridge.agent.stubborn = False
    bridge.agent.interrupted.set()
    await trio.sleep(45)
    assert ["interrupted", "completed", None] == [turn.reason for turn in turns]


@pytest.mark.parametrize("seed", range(6))
async def test_pause_in_the_instant_of_a_message_keeps_the_sandbox(
    world, nursery, autojump_clock, seed
):
    """The turn that has just begun is stopped as any other."""
    trio._core._run._r.seed(seed)
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    bridge, turns = world.bridges[session_id], []
    async with trio.open_nursery() as asking:
        asking.start_soon(_send, world, session_id, turns)
        while (live := world.sessions._live_sessions.get(session_id)).turn is None:
            await trio.lowlevel.checkpoint()
        await live.pause()
    assert ["stopped"] == [turn.reason for turn in turns]
    assert ("paused", bridge) == (live.stored.session.status, world.bridges[session_id])


async def test_interrupt_that_comes_too_late_says_so(world, nursery, autojump_clock):
    """A turn that completes first was not interrupted."""
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    bridge, turns, answers = world.bridges[session_id], [], []
    bridge.agent.stubborn = True

    async def interrupt():
        answers.append(await world.sessions.interrupt(TENANT, session_id))

    await _send(world, session_id, turns)
    nursery.start_soon(interrupt)
    await bridge.heard(Interrupt)
    await bridge.say_result()
    await turns[0].finished.wait()
    await wait_all_tasks_blocked()
    assert ([False], "completed") == (answers, turns[0].reason)


async def test_agent_that_takes_no_command_is_killed_when_its_message_is_refused(
    scene, autojump_clock
):
    """Nothing holds the turn: neither the prompt nor the interrupt that follows it."""
    scene.store.failing["begin_turn"] = Unavailable("full")
    begun = trio.current_time()
    turn = scene.begin()
    scene.sandbox.stuck = True
    with pytest.raises(Unavailable, match="full"):
        await turn.accepted()
    await turn.finished.wait()
    assert (True, STEP_SECONDS) == (scene.sandbox.killed, trio.current_time() - begun)


@pytest.mark.parametrize("seed", range(6))
async def test_kill_and_end_in_one_instant_agree(scene, mock_clock, seed, end):
    """Whoever stores the end knows whether the agent was killed; it is not killed after that."""
    trio._core._run._r.seed(seed)
    known = []

    async def store_end(turn, write):
        known.append(turn.killed)
        await write(None)

    context = TurnContext(scene.stored, scene.ring, scene.store, FixedClock(), 0.0, store_end)
    turn = Turn(context, scene.sandbox, Query(prompt=Raw(b'"hi"'), session_id=SESSION))
    send, batches = trio.open_memory_channel(1)
    with send, batches:
        scene.nursery.start_soon(turn.run, batches)
        await turn.accepted()
        scene.nursery.start_soon(turn.stop, "interrupted")
        await wait_all_tasks_blocked()
        mock_clock.jump(STEP_SECONDS)
        send.send_nowait([end])
        await turn.finished.wait()
    assert known == [turn.killed]
