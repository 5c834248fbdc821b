"""The status that a session gets when its turn or its sandbox ends, and how often it is stored."""

import msgspec
import pytest
import trio
from msgspec import Raw

from ash.errors import BadRequest, Unavailable
from ash.lifecycle import CHANGES
from ash.protocol import Query
from ash.sessions.outcomes import NOT_STORED
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
def fail_store(world, monkeypatch):
    """Lets a call of the store fail until the function that it returns is called."""

    def fail(name):
        call = getattr(world.store, name)

        async def broken(*args, **more):
            await trio.lowlevel.checkpoint()
            raise OSError("disk")

        monkeypatch.setattr(world.store, name, broken)
        return lambda: monkeypatch.setattr(world.store, name, call)

    return fail


@pytest.fixture
def changes(world, session_id, monkeypatch):
    """The changes of the session's status that are stored without a turn's end."""
    change_session, seen = world.store.change_session, []

    async def spy(session_id, change, *args, **more):
        seen.append(change.target)
        return await change_session(session_id, change, *args, **more)

    monkeypatch.setattr(world.store, "change_session", spy)
    return seen


class EndedTurn:
    """A turn whose end is being stored, as its session sees it."""

    killed = broken = False

    def __init__(self, lost=None):
        self.lost = lost

    async def stop(self, reason, step=0.0):
        await trio.lowlevel.checkpoint()


async def say(world, session_id):
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query)
    return turn


async def status(world, session_id):
    return (await world.sessions.get(TENANT, session_id)).status


async def last_event(world, session_id):
    rows = await world.store.events(TENANT, session_id, kind="lifecycle")
    return msgspec.json.decode(rows[-1].data)


async def store_end(world, live, turn):
    """Stores the end of the turn, as the turn itself does."""

    async def write(status):
        if status is None:
            return None
        return await world.store.change_session(
            live.stored.session.id, status.change, "now", event=status.event
        )

    live.turn = turn
    await live._end_turn(turn, write)


async def test_pause_in_a_turn_keeps_the_sandbox(world, session_id, autojump_clock):
    """The turn ends and the sandbox does not, so the resume is a warm one."""
    await say(world, session_id)
    await world.sessions.pause(TENANT, session_id)
    await trio.sleep(5)
    assert [session_id] == list(world.bridges)
    await world.sessions.resume(TENANT, session_id)
    assert 1 == world.pool.stats().resume_warm_hits


async def test_status_that_came_with_the_turn_is_not_stored_again(
    world, session_id, changes, autojump_clock
):
    """A session that is stopped in a turn costs one write."""
    await say(world, session_id)
    await world.sessions.stop(TENANT, session_id)
    await trio.sleep(5)
    assert [] == changes


async def test_failure_that_came_with_the_turn_is_not_stored_again(
    world, session_id, changes, autojump_clock
):
    """Nor does a sandbox that dies in a turn cost two."""
    turn = await say(world, session_id)
    world.bridges[session_id].kill()
    await turn.finished.wait()
    await trio.sleep(5)
    assert ("error", []) == (await status(world, session_id), changes)


async def test_turn_whose_end_is_not_stored_fails_its_session_for_that(
    world, session_id, fail_store, autojump_clock
):
    """The session says that storing failed, and not how its sandbox was killed for it."""
    turn = await say(world, session_id)
    mend = fail_store("end_turn")
    await world.bridges[session_id].say_result()
    await turn.finished.wait()
    mend()
    await trio.sleep(5)
    assert {"action": "error", "error": NOT_STORED} == await last_event(world, session_id)


async def test_stop_that_can_not_be_stored_is_told_so(world, live, fail_store, autojump_clock):
    """Nobody waits for the disk to come back; the status is stored when it does."""
    mend = fail_store("change_session")
    with trio.fail_after(10):
        await live.close("stop", "stopped")
    with pytest.raises(Unavailable, match="can't be stored yet"):
        await live.ended()
    mend()
    await live.gone.wait()
    assert "stopped" == await status(world, live.stored.session.id)


async def test_stopped_session_whose_sandbox_breaks_at_its_end_is_stopped(
    world, session_id, monkeypatch, autojump_clock
):
    """What was decided holds, whatever goes wrong afterwards."""

    async def wait(longest=1.0):
        await trio.lowlevel.checkpoint()
        if longest == 0.5:
            raise OSError("the sandbox does not end well")

    monkeypatch.setattr(world._delays, "wait", wait)
    await world.sessions.stop(TENANT, session_id)
    assert {"action": "stopped"} == await last_event(world, session_id)


async def test_pause_of_a_session_that_has_just_failed_is_refused(world, live):
    """The end of a turn that failed its session is no pause."""
    await store_end(world, live, EndedTurn(lost="The agent died"))
    with pytest.raises(BadRequest, match='status "error"'):
        await live.pause()


async def test_pause_of_a_session_that_is_being_put_away_is_refused(world, live):
    """Of two that pause a session one wins, also if the other put it away."""
    live.decide("pause")
    await store_end(world, live, EndedTurn())
    with pytest.raises(BadRequest, match='status "paused"'):
        await live.pause()


async def test_pause_that_another_daemon_made_is_refused(world, session_id, live):
    """The turn's end changes nothing then, so this caller has paused nothing."""
    turn = EndedTurn()

    async def stop(reason):
        await store_end(world, live, turn)

    turn.stop = stop
    live.turn = turn
    await world.store.change_session(session_id, CHANGES["pause"], "now")
    with pytest.raises(BadRequest, match='status "paused"'):
        await live.pause()


async def test_stop_of_a_session_that_has_just_failed_decides_nothing(world, live):
    """The failure is decided with the end of the turn, before that end is shown."""
    await store_end(world, live, EndedTurn(lost="The agent died"))
    assert not live.decide("stop")
    assert "fail" == live.statistics().outcome


async def test_log_ends_with_the_number_of_lines_that_are_missing(
    world, session_id, live, fail_store
):
    """Lines that could not be stored leave a note when nothing more is logged after them."""
    mend = fail_store("append_logs")
    await live._sandbox.log([("info", "one"), ("info", "two")])
    mend()
    await world.sessions.stop(TENANT, session_id)
    await live.gone.wait()
    assert (await world.store.logs(TENANT, session_id))[-1].text.endswith("not be stored: 2")
