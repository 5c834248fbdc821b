"""Who waits for a session is served in order, and who leaves it unused loses its sandbox."""

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.protocol import Query
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"
IDLE = 100


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


async def create(world):
    return (await world.sessions.create(TENANT, NewSession(agent="helper"))).id


async def say(world, session_id, text=0, when_busy="refuse"):
    query = Query(prompt=Raw(b"%d" % text), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query, when_busy)
    return turn


async def status(world, session_id):
    return (await world.sessions.get(TENANT, session_id)).status


async def test_queued_messages_are_sent_in_the_order_in_which_they_came(world, autojump_clock):
    """Each waits for the turn before it, and none overtakes another."""
    session_id = await create(world)
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(say, world, session_id, number, "queue")
            await wait_all_tasks_blocked()
    await wait_all_tasks_blocked()
    commands = world.bridges[session_id].commands
    assert [*range(8)] == [int(bytes(c.prompt)) for c in commands if isinstance(c, Query)]


async def test_session_that_nobody_uses_is_paused(tmp_path, monkeypatch, autojump_clock):
    """After its idle timeout it gives its sandbox up, and can be resumed."""
    async with opened(None, tmp_path, monkeypatch, idle_timeout=IDLE) as world:
        await world.deploy("helper")
        session_id = await create(world)
        await trio.sleep(IDLE / 2)
        assert "active" == await status(world, session_id)
        await trio.sleep(IDLE)
        assert ("paused", {}) == (await status(world, session_id), world.bridges)
        assert "active" == (await world.sessions.resume(TENANT, session_id)).status


async def test_session_that_is_busy_is_not_evicted(world, autojump_clock):
    """Whoever needs the room is told that this session does not let go."""
    session_id = await create(world)
    turn = await say(world, session_id)
    live = world.sessions._live_sessions.get(session_id)
    assert (False, "active") == (await live.evict(), await status(world, session_id))
    await turn.finished.wait()
    assert (True, "paused") == (await live.evict(), await status(world, session_id))
