"""What a live session does at the moments between two of its states."""

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.errors import Conflict, EngineFailed
from ash.protocol import Exec, Query
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


@pytest.fixture
async def session_id(world):
    return (await world.sessions.create(TENANT, NewSession(agent="helper"))).id


@pytest.fixture
def live(world, session_id):
    return world.sessions._live_sessions.get(session_id)


@pytest.fixture
def slow_command(world, session_id, monkeypatch):
    """The agent answers no shell command. Returns when one was sent."""

    async def never(process, command):
        sent.set()
        await trio.sleep_forever()

    sent = trio.Event()
    monkeypatch.setattr(world.bridges[session_id].agent, "run_command", never)
    return sent


class ShownTurn:
    """A turn whose last frame was shown, and which has not finished yet."""

    last_frame = 9

    def __init__(self):
        self.finished = trio.Event()


def resumed(world):
    stats = world.pool.stats()
    return stats.resume_warm_hits, stats.resume_cold_hits


async def test_resume_in_the_same_sandbox_is_counted_as_warm(world, session_id):
    """The resume of a paused session that kept its sandbox counts once, of an active one never."""
    await world.sessions.resume(TENANT, session_id)
    assert (0, 0) == resumed(world)
    await world.sessions.pause(TENANT, session_id)
    await world.sessions.resume(TENANT, session_id)
    assert (1, 0) == resumed(world)


async def test_resumed_session_is_idle_from_then_on(world, session_id, live, autojump_clock):
    """A session that was just resumed is not the one that has been idle longest."""
    await world.sessions.pause(TENANT, session_id)
    await trio.sleep(100)
    await world.sessions.resume(TENANT, session_id)
    assert trio.current_time() - 50 < live.idle_since()


async def test_command_whose_session_is_stopped_is_a_conflict(
    world, session_id, slow_command, nursery, autojump_clock
):
    """The caller learns that the session was stopped, and not that the sandbox failed."""

    async def stop():
        await slow_command.wait()
        await world.sessions.stop(TENANT, session_id)

    nursery.start_soon(stop)
    with pytest.raises(Conflict, match="The session was stopped while the command ran"):
        await world.sessions.exec(TENANT, session_id, Exec(command="sleep 100"))


async def test_command_whose_sandbox_dies_is_a_failure(
    world, session_id, slow_command, nursery, autojump_clock
):
    """Nobody stopped the session, so the caller learns that the sandbox ended."""

    async def die():
        await slow_command.wait()
        world.bridges[session_id].kill()

    nursery.start_soon(die)
    with pytest.raises(EngineFailed):
        await world.sessions.exec(TENANT, session_id, Exec(command="sleep 100"))


async def test_refusing_caller_waits_for_a_turn_whose_end_was_shown(live, nursery):
    """To a client that turn is over: its next message waits a moment and is not refused."""
    entered = trio.Event()
    live.turn = turn = ShownTurn()

    async def enter():
        async with live.entry("refuse"):
            entered.set()

    nursery.start_soon(enter)
    for _ in range(5):
        await trio.lowlevel.checkpoint()
    assert (False, 1) == (entered.is_set(), turn.finished.statistics().tasks_waiting)
    live.turn = None
    turn.finished.set()
    await wait_all_tasks_blocked()
    assert entered.is_set()


async def test_refusing_caller_does_not_wait_for_a_turn_that_runs(world, session_id, live):
    """It enters at once, and its message is then refused."""
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query)
    async with live.entry("refuse"):
        assert live.turn is turn
    with pytest.raises(Conflict, match="A turn is running"):
        await world.sessions.send(TENANT, session_id, query)
