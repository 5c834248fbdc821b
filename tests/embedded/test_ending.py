"""What is left when a script with ash in it has ended: sessions to be resumed, no process."""

import os
import signal
import subprocess
from functools import partial

import pytest
import trio

from ash.errors import AshError
from tests.support.daemon import running, settings
from tests.support.embedded import Script, begin, embedded, say
from tests.support.processes import alive, descendants, until

# How long an ending may take at most: ten seconds of grace and five more.
BOUND = 15.0

SHUTDOWN = '{"action":"paused","reason":"shutdown"}'


async def ready(ash):
    """The id of a session that is active."""
    await ash.deploy_agent("helper", system_prompt="be kind")
    return (await ash.create_session("helper")).id


async def last_change(ash, session):
    return (await ash.list_events(session, type="lifecycle"))[-1].data


async def test_leaving_ends_turns_and_pauses_sessions(data_dir):
    """Whoever reads hears why; the sessions go on in the next one, with what they had."""
    seen = []

    async def read(stream):
        seen.extend([event async for event in stream])

    async with trio.open_nursery() as nursery, embedded(data_dir) as ash:
        busy, idle = await ready(ash), await ready(ash)
        await say(ash, idle, "hello")
        nursery.start_soon(read, await begin(ash, busy))
        family = descendants(os.getpid())
    assert ("done", "shutdown") == (seen[-1].event, seen[-1].json()["reason"])
    assert [] == [pid for pid in family if alive(pid)]
    async with embedded(data_dir) as ash:
        assert ["paused", "paused"] == [each.status for each in await ash.list_sessions()]
        assert SHUTDOWN == await last_change(ash, busy)
        await ash.resume_session(idle)
        recalled = await say(ash, idle, "RECALL")
        assert '["hello","RECALL"]' == recalled[-2].json()["result"]


async def test_stream_can_be_read_to_its_end_afterwards(data_dir):
    """What was shown is there for who reads late."""
    async with embedded(data_dir) as ash:
        session = await ready(ash)
        turn = await begin(ash, session)
        watch = ash.stream_session(session, after=0)
        assert "session_start" == (await anext(watch)).event
    for stream in (turn, watch):
        events = [event async for event in stream]
        assert ("done", "shutdown") == (events[-1].event, events[-1].json()["reason"])


async def test_cancelled_script_ends_as_well(data_dir):
    """In the midst of a turn: it ends as `shutdown`, its session is paused, nothing is left."""
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as script:
            async with embedded(data_dir) as ash:
                session = await ready(ash)
                nursery.cancel_scope.deadline = trio.current_time() + BOUND
                async with await begin(ash, session):
                    family = descendants(os.getpid())
                    script.cancel()
                    await trio.sleep_forever()
    assert script.cancelled_caught
    assert not nursery.cancel_scope.cancelled_caught
    assert [] == [pid for pid in family if alive(pid)]
    async with embedded(data_dir) as ash:
        assert SHUTDOWN == await last_change(ash, session)


async def test_script_that_fails_ends_as_well(data_dir):
    """Its error comes out as it is, a group of its own as well."""
    family = []

    async def script(error):
        async with embedded(data_dir) as ash, await begin(ash, await ready(ash)):
            family.extend(descendants(os.getpid()))
            raise error

    for error in (ZeroDivisionError("mine"), ExceptionGroup("", [ValueError("mine")])):
        with pytest.raises(type(error)) as failed:
            await script(error)
        assert error is failed.value
        assert [] == [pid for pid in family if alive(pid)]


async def test_script_that_is_cancelled_while_it_opens(data_dir):
    """What had begun is given back: the data directory is free."""
    for seconds in (0, 0.01, 0.05):
        with trio.move_on_after(seconds):
            async with embedded(data_dir):
                await trio.sleep_forever()
    async with embedded(data_dir) as ash:
        assert [] == await ash.list_agents()


async def test_agent_that_does_not_follow_is_killed(data_dir):
    """It costs the grace, and no more."""
    async with embedded(data_dir, grace_seconds=1.5) as ash:
        session = await ready(ash)
        async with await begin(ash, session):
            family = [pid for pid in descendants(os.getpid()) if alive(pid)]
            for pid in family:
                os.kill(pid, signal.SIGSTOP)
            begun = trio.current_time()
    assert trio.current_time() - begun < 1.5 + 5
    assert [] == [pid for pid in family if alive(pid)]


async def test_call_under_way_ends_with_it(data_dir, monkeypatch):
    """Nobody waits for what will never come, even when the sessions can't be ended properly."""

    async def hang(*_):
        await trio.sleep_forever()

    monkeypatch.setattr("ash.core.CLOSE_SECONDS", 0.1)
    monkeypatch.setattr("ash.sessions.service.Sessions.shut_down", hang)
    told = []

    async def ask(work):
        with pytest.raises(AshError) as failed:
            await work()
        told.append(failed.value.text)

    async def watch(stream):
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery, embedded(data_dir, grace_seconds=0.1) as ash:
        busy, idle = await ready(ash), await ready(ash)
        stream = await begin(ash, busy)
        unread = await ash.stream_session(idle).__aenter__()
        for work in (
            partial(watch, stream),
            partial(watch, ash.stream_session(busy)),
            partial(say, ash, busy, "hello", when_busy="queue"),
            partial(ash.exec, idle, "sleep 60"),
        ):
            nursery.start_soon(ask, work)
        await trio.testing.wait_all_tasks_blocked(0.1)
    assert 4 == len(told)
    assert "This Ash was closed during the call" in told
    with pytest.raises(AshError, match="This Ash was closed"):
        await watch(unread)


async def test_own_children_of_the_script_are_left_to_it(data_dir):
    """Whoever started them gets their status, however they were started."""
    start = partial(subprocess.Popen, ["/bin/sh", "-c", "exit 7"])
    theirs = [start(), start(start_new_session=True), start(process_group=0)]
    async with embedded(data_dir) as ash:
        session = await ready(ash)
        await until(lambda: not any(alive(each.pid) for each in theirs))
        await ash.stop_session(session)
        async with trio.open_nursery() as nursery:
            process = await nursery.start(trio.run_process, ["true"])
    assert [7, 7, 7] == [each.wait() for each in theirs]
    assert 0 == process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_script_that_is_killed(data_dir, number):
    """By Ctrl-C, by a service manager, or by force: nothing runs on, and sessions go on."""
    script = await trio.to_thread.run_sync(Script, data_dir)
    assert any(map(alive, script.family))
    with trio.fail_after(BOUND):
        said = await script.end(number)
    await until(lambda: not any(map(alive, script.family)))
    async with embedded(data_dir) as ash:
        assert "paused" == (await ash.get_session(script.session)).status
        await ash.resume_session(script.session)
        recalled = await say(ash, script.session, "RECALL")
        assert recalled[-2].json()["result"].startswith('["hello",')
        if number == signal.SIGINT:
            assert "KeyboardInterrupt" in said
            events = await ash.list_events(script.session, type="lifecycle")
            assert SHUTDOWN in [event.data for event in events]


async def test_daemon_goes_on_with_what_a_script_had(data_dir):
    """And a script with what a daemon had."""
    async with embedded(data_dir) as ash:
        session = await ready(ash)
        await say(ash, session, "one")
    async with running(settings(data_dir)) as daemon:
        assert 200 == (await daemon.us.post(f"/api/sessions/{session}/resume")).status_code
        await daemon.us.say(session, "two")
    async with embedded(data_dir) as ash:
        await ash.resume_session(session)
        recalled = await say(ash, session, "RECALL")
        assert '["one","two","RECALL"]' == recalled[-2].json()["result"]
