"""What the daemon believes of a session is what the store holds, in whatever order answers come."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


@pytest.fixture
async def session_id(world, autojump_clock):
    return (await world.sessions.create(TENANT, NewSession(agent="helper"))).id


@pytest.fixture
def hold_first(world, monkeypatch):
    """The first answer of this call of the store is kept back until the event is set."""

    def hold(name):
        call, held, first = getattr(world.store, name), trio.Event(), [True]

        async def slow(*args, **kwargs):
            mine = first and first.pop()
            answer = await call(*args, **kwargs)
            if mine:
                await held.wait()
            return answer

        monkeypatch.setattr(world.store, name, slow)
        return held

    return hold


async def believed_and_stored(world, session_id):
    live = world.sessions._live_sessions.get(session_id)
    stored = await world.store.session_by_id(session_id)
    return live.stored.session, stored.session


async def pause(world, session_id):
    await world.sessions.pause(TENANT, session_id)


async def resume(world, session_id):
    await world.sessions.resume(TENANT, session_id)


async def configure(world, session_id):
    await world.sessions.configure(TENANT, session_id, {"model": "another"})


@pytest.mark.parametrize(
    "calls",
    [
        ("change_session", pause, resume),
        ("session_by_id", configure, pause),
        ("change_session", pause, configure),
    ],
)
async def test_answers_in_reverse_order_change_nothing(world, session_id, hold_first, calls):
    """The second change waits for the answer to the first: no older answer covers a newer one."""
    held_call, first, second = calls
    held = hold_first(held_call)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first, world, session_id)
        await wait_all_tasks_blocked()
        try:
            nursery.start_soon(second, world, session_id)
            await wait_all_tasks_blocked()
        finally:
            held.set()
    believed, stored = await believed_and_stored(world, session_id)
    assert stored == believed
