"""Turns that an agent begins by itself, and what it runs in the background."""

import json

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.errors import Conflict, Unavailable
from ash.protocol import (
    BackgroundTasks,
    EngineMessage,
    Exec,
    Interrupt,
    McpServerState,
    McpStatus,
    PromptRefused,
    PromptTaken,
    Query,
    Recovered,
    Shutdown,
    TurnDone,
)
from ash.sessions import admission, own_work
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"
IDLE = 100
LIMIT = 1000
SAID = EngineMessage(Raw(b'{"type":"assistant","message":{"content":[]}}'))


@pytest.fixture
async def world(tmp_path, monkeypatch):
    timeouts = {"idle_timeout": IDLE, "background_limit": LIMIT}
    async with opened(None, tmp_path, monkeypatch, **timeouts) as world:
        await world.deploy("helper")
        yield world


@pytest.fixture
async def session_id(world):
    return (await world.sessions.create(TENANT, NewSession(agent="helper"))).id


@pytest.fixture
def live(world, session_id):
    return world.sessions._live_sessions.get(session_id)


@pytest.fixture
def bridge(world, session_id):
    """The test says what it says to a query."""
    bridge = world.bridges[session_id]

    async def nothing(process, command):
        if isinstance(command, Shutdown):
            process.die()

    bridge.agent.answer = nothing
    return bridge


async def send(world, session_id, when_busy="refuse"):
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, _ = await world.sessions.send(TENANT, session_id, query, when_busy)
    return turn


async def ask(world, session_id, when_busy, failed):
    """Notes what it is refused with."""
    try:
        await send(world, session_id, when_busy)
    except Conflict as error:
        failed.append(str(error))


async def frames(live):
    """All that was shown, in short: the event, and what tells it from others of its kind."""
    found, cursor = [], live.ring.earliest
    while cursor < live.ring.next_id:
        data, cursor = await live.ring.read(cursor)
        for text in b"".join(data).decode().split("\n\n")[:-1]:
            _, event, value = text.split("\n")
            value = json.loads(value.removeprefix("data: "))
            mark = value.get("origin") or value.get("reason") or value.get("result")
            found.append((event.removeprefix("event: "), mark))
    return found


OWN = [
    ("session_start", "task"),
    ("turn_complete", "mine"),
    ("message", "mine"),
    ("done", "completed"),
]
ASKED = [
    ("session_start", None),
    ("turn_complete", "yours"),
    ("message", "yours"),
    ("done", "completed"),
]


async def answer(bridge, query):
    message = Raw(b'{"type":"result","subtype":"success","result":"yours"}')
    await bridge.say(EngineMessage(message), TurnDone("the session", id=query.id))


async def query_of(bridge, number=0):
    """The bridge has read so many before it."""
    await wait_all_tasks_blocked()
    return [command for command in bridge.commands if isinstance(command, Query)][number]


async def runs_in_background(bridge, *tasks):
    await bridge.say(BackgroundTasks(list(tasks)))
    await wait_all_tasks_blocked()


async def lifecycle(world, session_id):
    """The data of the latest lifecycle event."""
    found = await world.sessions.events(TENANT, session_id, after=0, limit=100, kind="lifecycle")
    return json.loads(found[-1].data)


async def test_own_turn_is_shown_and_stored(world, session_id, live, bridge):
    """It has no message of a user, and its start says where it comes from."""
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    assert [("session_start", "task")] == await frames(live)
    await bridge.end_own_turn()
    await wait_all_tasks_blocked()
    assert OWN == await frames(live)
    (message,) = await world.sessions.messages(TENANT, session_id, after=0, limit=10)
    assert ("assistant", True) == (message.role, '"mine"' in message.content)
    async with world.sessions.watch(TENANT, session_id, 0) as watch:
        assert b'"origin":"task"' in await watch.read()


async def test_turns_that_follow_at_once_are_two(live, bridge):
    """All of both may come in one batch."""
    message = Raw(b'{"type":"result","subtype":"success","result":"mine"}')
    for number in ("own-1", "own-2"):
        await bridge.begin_own_turn(number)
        await bridge.say(EngineMessage(message), TurnDone("the session", id=number))
    await wait_all_tasks_blocked()
    assert [*OWN, *OWN] == await frames(live)


async def test_message_in_an_own_turn_is_refused(world, session_id, live, bridge):
    """As in any other turn; with `queue` it follows."""
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    with pytest.raises(Conflict, match="A turn is running"):
        await send(world, session_id)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, world, session_id, "queue")
        await bridge.end_own_turn()
        await answer(bridge, await query_of(bridge))
    await wait_all_tasks_blocked()
    assert [*OWN, *ASKED] == await frames(live)


async def test_interrupt_ends_an_own_turn(world, session_id, live, bridge):
    """It goes to that turn, and the session is kept."""
    await bridge.begin_own_turn("own-7")
    async with trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(world.sessions.interrupt, TENANT, session_id)
        await bridge.heard(Interrupt)
        assert Interrupt(turn="own-7") == bridge.commands[-1]
        await bridge.end_own_turn("own-7", "error_during_execution")
    assert ("done", "interrupted") == (await frames(live))[-1]
    assert live.is_up


@pytest.mark.parametrize("when_busy", ["refuse", "queue"])
async def test_message_meets_an_own_turn_in_the_same_instant(
    world, session_id, live, bridge, when_busy
):
    """Nothing of it is stored before the agent has taken it, so it is refused or follows."""
    await runs_in_background(bridge, "sleep 9")
    failed = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, world, session_id, when_busy, failed)
        query = await query_of(bridge)
        assert ([], True) == (await frames(live), query.yields)
        await bridge.begin_own_turn()
        await bridge.say(SAID, PromptRefused(id=query.id))
        await wait_all_tasks_blocked()
        await bridge.end_own_turn()
        if when_busy == "queue":
            again = await query_of(bridge, 1)
            await bridge.say(PromptTaken(id=again.id))
            await answer(bridge, again)
    await wait_all_tasks_blocked()
    own = [*OWN[:1], ("message", None), *OWN[1:]]
    assert (own if failed else [*own, *ASKED]) == await frames(live)
    assert bool(failed) == (when_busy == "refuse")
    assert all("begun a turn by itself" in text for text in failed)


async def test_message_that_the_agent_has_refused_is_not_stored(world, session_id, live, bridge):
    """The refusal may come before the turn that is the reason for it."""
    await runs_in_background(bridge, "sleep 9")
    failed = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, world, session_id, "refuse", failed)
        query = await query_of(bridge)
        await bridge.say(PromptRefused(id=query.id))
        await wait_all_tasks_blocked()
        assert 1 == len(failed)
        await bridge.begin_own_turn()
        await bridge.end_own_turn()
    await wait_all_tasks_blocked()
    assert OWN == await frames(live)


async def test_message_that_was_taken_is_stored_then(world, session_id, live, bridge):
    """Its first messages may come together with the word that it was taken."""
    await runs_in_background(bridge, "sleep 9")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, world, session_id)
        query = await query_of(bridge)
        message = Raw(b'{"type":"result","subtype":"success","result":"yours"}')
        await bridge.say(
            PromptTaken(id=query.id), EngineMessage(message), TurnDone("the session", id=query.id)
        )
    await wait_all_tasks_blocked()
    assert ASKED == await frames(live)


async def test_message_whose_bridge_says_nothing_is_stored_after_a_while(
    world, session_id, live, bridge, autojump_clock
):
    """It is a turn then, which can be stopped, and has its end."""
    await runs_in_background(bridge, "sleep 9")
    turn = await send(world, session_id)
    assert [("session_start", None)] == await frames(live)
    await turn.stop("interrupted")
    assert ("done", "interrupted") == (await frames(live))[-1]


async def test_own_turn_that_begins_in_a_turn_is_part_of_it(world, session_id, live, bridge):
    """Where nothing has announced it, and the message is stored: its `done` is not the turn's."""
    turn = await send(world, session_id)
    await bridge.begin_own_turn()
    await bridge.say(SAID, TurnDone("the session", id="own-1"))
    await wait_all_tasks_blocked()
    assert not turn.finished.is_set()
    await answer(bridge, await query_of(bridge))
    await turn.finished.wait()
    assert [ASKED[0], ("message", None), *ASKED[1:]] == await frames(live)


async def test_own_turn_whose_bridge_dies_has_its_end(world, session_id, live, bridge):
    """As any turn: an error, and the session has failed."""
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    bridge.die()
    await live.gone.wait()
    assert [("error", None), ("done", "error")] == (await frames(live))[-2:]
    assert "error" == (await world.sessions.get(TENANT, session_id)).status


async def test_background_task_keeps_a_session_from_being_idle(
    world, session_id, live, bridge, autojump_clock
):
    """Until it has ended, and a moment longer, in which the agent may begin to answer it."""
    await runs_in_background(bridge, "sleep 9")
    assert live.idle_since() is None
    await trio.sleep(5 * IDLE)
    assert (False, "active") == (await live.evict(), live.stored.session.status)
    await runs_in_background(bridge)
    assert live.idle_since() is None
    await trio.sleep(own_work.SETTLE_SECONDS + 1)
    assert trio.current_time() - 1 == live.idle_since()
    await trio.sleep(2 * IDLE)
    assert "paused" == (await world.sessions.get(TENANT, session_id)).status


async def test_background_task_has_a_limit(world, session_id, live, bridge, autojump_clock):
    """It counts from the last thing that a client has asked for."""
    await runs_in_background(bridge, "npm run dev")
    await trio.sleep(LIMIT / 2)
    bridge.agent.results["true"] = (0, "", "", False)
    bridge.agent.answer = type(bridge.agent).answer.__get__(bridge.agent)
    await world.sessions.exec(TENANT, session_id, Exec(command="true"))
    await trio.sleep(LIMIT - 10)
    assert live.idle_since() is None
    await trio.sleep(20)
    assert live.idle_since() is not None
    await trio.sleep(2 * IDLE)
    assert ("paused", "npm run dev") == (
        (await world.sessions.get(TENANT, session_id)).status,
        (await lifecycle(world, session_id))["cut"],
    )


async def test_own_turns_without_end_do_not_keep_a_session_for_ever(
    world, session_id, live, bridge, autojump_clock
):
    """After the limit the session counts as idle, even in the midst of one."""
    async with trio.open_nursery() as nursery:

        async def go_on():
            number = 0
            while True:
                number += 1
                await bridge.begin_own_turn(f"own-{number}")
                await trio.sleep(IDLE / 2)
                await bridge.end_own_turn(f"own-{number}")
                await trio.sleep(1)

        nursery.start_soon(go_on)
        await trio.sleep(LIMIT + 2 * IDLE)
        nursery.cancel_scope.cancel()
    assert "paused" == (await world.sessions.get(TENANT, session_id)).status


async def test_pause_ends_what_runs_in_the_background_and_says_so(world, session_id, live, bridge):
    """The sandbox is given up: nothing may go on in a session that is paused."""
    await runs_in_background(bridge, "sleep 9", "npm run dev")
    assert "paused" == (await world.sessions.pause(TENANT, session_id)).status
    assert {"action": "paused", "cut": "sleep 9; npm run dev"} == await lifecycle(world, session_id)
    await live.gone.wait()
    assert "active" == (await world.sessions.resume(TENANT, session_id)).status


async def test_pause_in_an_own_turn_ends_it(world, session_id, live, bridge):
    """As `stopped`; the sandbox stays, because nothing runs in it any more."""
    await bridge.begin_own_turn()
    async with trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(world.sessions.pause, TENANT, session_id)
        await bridge.heard(Interrupt)
        await bridge.end_own_turn(subtype="error_during_execution")
    assert ("done", "stopped") == (await frames(live))[-1]
    assert ("paused", False) == (live.stored.session.status, live.gone.is_set())


async def test_agent_that_works_while_its_session_is_paused_loses_its_sandbox(
    world, session_id, live, bridge
):
    """Nobody would see it. The log says why; a resume goes on from there."""
    await world.sessions.pause(TENANT, session_id)
    await bridge.begin_own_turn()
    await live.gone.wait()
    lines, _ = await world.sessions.logs(TENANT, session_id, after=0)
    assert "while its session was paused" in lines[-1].text
    assert "active" == (await world.sessions.resume(TENANT, session_id)).status


async def test_what_a_bridge_says_is_running_is_bounded(live, bridge):
    """In number and in length: it may say anything."""
    await runs_in_background(bridge, *["x" * 1000] * 30)
    assert [own_work.LONGEST_NAME] * own_work.MOST_TASKS == [*map(len, live._own_work.tasks)]


async def test_message_that_is_refused_after_it_was_stored_ends_as_an_error(
    world, session_id, live, bridge, autojump_clock
):
    """The engine may take longer to say so than the message waits. The own turn follows."""
    await runs_in_background(bridge, "sleep 9")
    turn = await send(world, session_id)
    await bridge.say(PromptRefused(id=turn.id))
    await bridge.begin_own_turn()
    await bridge.end_own_turn()
    await turn.finished.wait()
    await wait_all_tasks_blocked()
    cut = [("session_start", None), ("error", None), ("done", "error")]
    assert [*cut, *OWN] == await frames(live)
    assert live.is_up


async def test_refusal_of_an_earlier_message_does_not_end_a_turn(world, session_id, live, bridge):
    """The agent may be so late that its own turn, which was the reason, is over."""
    await bridge.begin_own_turn()
    await bridge.say(PromptRefused(id="an earlier one"))
    await bridge.end_own_turn()
    await wait_all_tasks_blocked()
    assert OWN == await frames(live)


async def test_message_whose_sandbox_breaks_before_it_is_taken_is_answered(
    world, session_id, live, bridge
):
    """Nothing of it is stored, and its caller does not wait for ever."""
    await runs_in_background(bridge, "sleep 9")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            failed = []

            async def asked():
                try:
                    await send(world, session_id)
                except Unavailable as error:
                    failed.append(str(error))

            nursery.start_soon(asked)
            await query_of(bridge)
            bridge.nursery.cancel_scope.cancel()
    assert ["The sandbox broke in the middle of the turn"] == failed


async def test_what_was_mended_before_a_refused_message_is_told_in_the_next_turn(
    world, session_id, live, bridge
):
    """Nobody has seen it: it came with the refusal."""
    await runs_in_background(bridge, "sleep 9")
    failed = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, world, session_id, "refuse", failed)
        query = await query_of(bridge)
        await bridge.say(Recovered("was broken"), PromptRefused(id=query.id))
    assert 1 == len(failed)
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    assert [("session_start", "task"), ("recovered", None)] == await frames(live)


async def test_what_was_mended_between_two_turns_is_told_in_the_next(live, bridge):
    """No turn listens when it comes."""
    await bridge.say(Recovered("was broken"))
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    assert [("session_start", "task"), ("recovered", None)] == await frames(live)


async def test_own_turn_of_a_dying_sandbox_does_not_pause_its_session(
    world, session_id, live, bridge
):
    """The session has failed: that an agent has begun something is not the reason."""
    bridge.killed = True
    await bridge.begin_own_turn()
    await wait_all_tasks_blocked()
    bridge.die()
    await live.gone.wait()
    assert "error" == (await world.sessions.get(TENANT, session_id)).status


async def test_bridge_that_floods_a_message_that_waits_is_bounded(
    world, session_id, live, bridge, monkeypatch
):
    """What comes before the agent takes a message is kept in memory, so the message waits less."""
    monkeypatch.setattr(admission, "MOST_EARLY", 3)
    await runs_in_background(bridge, "sleep 9")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, world, session_id)
        await query_of(bridge)
        for number in range(3):
            assert [] == await frames(live)
            await bridge.say(McpStatus([McpServerState(f"server {number}", "pending")]))
            await wait_all_tasks_blocked()
    assert [("session_start", None), *[("mcp_status", None)] * 3] == await frames(live)
    await bridge.say_result()
    await wait_all_tasks_blocked()


async def test_message_that_could_not_be_stored_costs_no_sandbox_if_its_turn_is_over(
    live, bridge, autojump_clock, monkeypatch
):
    """All of the turn may come with the word that it was taken: then there is nothing to stop."""

    async def fails(*_, **__):
        raise Unavailable("The disk is full")

    await runs_in_background(bridge, "sleep 9")
    monkeypatch.setattr(live._dependencies.store, "begin_turn", fails)
    turn = live.start_turn(Query(prompt=Raw(b'"hi"'), session_id="the session"))
    done = TurnDone("the session", id=turn.id)
    await query_of(bridge)
    await bridge.say(PromptTaken(id=turn.id), SAID, done)
    with pytest.raises(Unavailable):
        await turn.accepted()
    await trio.sleep(60)
    assert (False, True) == (bridge.killed, live.is_up)
