"""What the last frame of a turn says is already true for every other request."""

import sqlite3
from contextlib import closing, suppress

import msgspec
import pytest
import trio
from msgspec import Raw

from ash.errors import AshError, BadRequest
from ash.protocol import EngineMessage, Failed, Query, TurnDone
from ash.sessions.frame_ring import RingBroken
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"
SILENCE = 20.0
SILENT = (
    "The agent was silent for 20 seconds (turn_silence_timeout), so its sandbox was ended;"
    " resume the session to go on"
)
BUDGET = EngineMessage(Raw(b'{"type":"result","subtype":"error_max_turns","is_error":true}'))


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch, silence_timeout=SILENCE) as world:
        await world.deploy("helper")
        yield world


class Ending:
    """One session with a turn that runs, and each way to end that."""

    def __init__(self, world, session_id, nursery):
        self.world = world
        self.session_id = session_id
        self.bridge = world.bridges[session_id]
        self._sessions = world.sessions
        self._nursery = nursery

    async def completes(self):
        await self.bridge.say_result()

    async def reaches_its_budget(self):
        await self.bridge.say(BUDGET, TurnDone(self.session_id))

    async def fails(self):
        await self.bridge.say(Failed("The CLI died"), TurnDone(self.session_id))

    async def hits_a_limit(self):
        self.bridge.limit_report = "The sandbox ran out of memory"
        await self.bridge.say_result()

    async def hits_a_limit_that_ends_the_sandbox(self):
        self.bridge.limit_report = "The sandbox is over its disk limit"
        self.bridge.kill()

    async def hits_it_at_the_end_of_the_turn(self):
        """The sandbox is killed for it; that it is gone is not seen yet."""
        self.bridge.limit_report = "The sandbox is over its disk limit"
        self.bridge.killed = True
        await self.bridge.say_result()

    async def dies(self):
        self.bridge.kill()

    async def is_silent(self):
        self.bridge.agent.mute = True

    async def breaks(self):
        self.bridge.nursery.cancel_scope.cancel()

    async def is_interrupted(self):
        await self._sessions.interrupt(TENANT, self.session_id)

    async def is_interrupted_and_dies(self):
        self.bridge.agent.stubborn = True
        self._nursery.start_soon(self.is_interrupted)
        await trio.sleep(1)
        self.bridge.kill()

    async def does_not_stop(self):
        self.bridge.agent.stubborn = True
        await self.is_interrupted()

    async def stops_when_it_is_shut_down(self):
        """Interrupts do not reach it, but its bridge obeys."""
        await trio.sleep(1)
        self.bridge.agent.interrupted = trio.Event()
        await self.is_interrupted()

    async def makes_way_for_a_message(self):
        query = Query(prompt=Raw(b'"next"'), session_id=self.session_id)
        await self._sessions.send(TENANT, self.session_id, query, "interrupt")

    async def makes_way_for_a_fork(self):
        await self._sessions.fork(TENANT, self.session_id, None, "interrupt")

    async def is_paused(self):
        await self._sessions.pause(TENANT, self.session_id)

    async def is_paused_and_does_not_stop(self):
        self.bridge.agent.stubborn = True
        await self.is_paused()

    async def is_paused_and_dies(self):
        self.bridge.agent.stubborn = True
        self._nursery.start_soon(self.is_paused)
        await trio.sleep(1)
        self.bridge.kill()

    async def is_stopped(self):
        await self._sessions.stop(TENANT, self.session_id)

    async def is_stopped_and_does_not_stop(self):
        self.bridge.agent.stubborn = True
        await self.is_stopped()

    async def is_ended(self):
        await self._sessions.end(TENANT, self.session_id)

    async def is_shut_down(self):
        await self._sessions.shut_down(3)


ENDS = {
    "completes": ("completed", "active"),
    "reaches_its_budget": ("budget", "active"),
    "fails": ("error", "active"),
    "hits_a_limit": ("error", "active"),
    "hits_a_limit_that_ends_the_sandbox": ("error", "error"),
    "hits_it_at_the_end_of_the_turn": ("error", "error"),
    "dies": ("error", "error"),
    "is_silent": ("error", "error"),
    "breaks": ("error", "error"),
    "is_interrupted": ("interrupted", "active"),
    "is_interrupted_and_dies": ("interrupted", "error"),
    "does_not_stop": ("interrupted", "paused"),
    "stops_when_it_is_shut_down": ("interrupted", "paused"),
    "makes_way_for_a_message": ("interrupted", "active"),
    "makes_way_for_a_fork": ("interrupted", "active"),
    "is_paused": ("stopped", "paused"),
    "is_paused_and_does_not_stop": ("stopped", "paused"),
    "is_paused_and_dies": ("stopped", "paused"),
    "is_stopped": ("stopped", "stopped"),
    "is_stopped_and_does_not_stop": ("stopped", "stopped"),
    "is_ended": ("stopped", "ended"),
    "is_shut_down": ("shutdown", "paused"),
}


# Those after which somebody else may send the next message.
ASKED = [
    (how, status)
    for how, (_, status) in ENDS.items()
    if how not in {"is_shut_down", "makes_way_for_a_message"}
]


async def begin(world):
    """A session with a turn that runs; its ring, and the rows in the instant of `done`."""
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    query = Query(prompt=Raw(b'"hi"'), session_id=session_id)
    turn, ring = await world.sessions.send(TENANT, session_id, query)
    return session_id, turn, ring


def rows(world, query, *params):
    with closing(sqlite3.connect(world.data_dir / "ash.db")) as connection:
        return connection.execute(query, params).fetchall()


def status_in(world, session_id):
    ((status,),) = rows(world, "SELECT status FROM sessions WHERE id = ?", session_id)
    return status


def spy_on_done(world, session_id, ring, seen):
    """Looks at the rows in the loop's step that shows `done`, before anything else runs."""
    publish = ring.publish

    def publish_and_look(frames):
        publish(frames)
        if frames and frames[-1].event == "done":
            reason = msgspec.json.decode(frames[-1].data)["reason"]
            seen.append((reason, status_in(world, session_id)))

    ring.publish = publish_and_look


async def done(turn, ring):
    """Returns when the end of the turn is shown."""
    cursor = turn.first_frame
    while turn.last_frame is None or cursor <= turn.last_frame:
        _, cursor = await ring.read(cursor)


@pytest.mark.parametrize(("how", "ends"), ENDS.items())
async def test_row_has_the_status_that_follows_from_done(world, nursery, autojump_clock, how, ends):
    """In the instant in which `done` is shown, and for whoever asks next."""
    session_id, turn, ring = await begin(world)
    seen = []
    spy_on_done(world, session_id, ring, seen)
    async with trio.open_nursery() as asking:
        asking.start_soon(getattr(Ending(world, session_id, nursery), how))
        await done(turn, ring)
        asked = (await world.sessions.get(TENANT, session_id)).status
        assert (ends[1], ends) == (asked, seen[0])
    await trio.sleep(5)
    assert ends[1] == status_in(world, session_id)


@pytest.mark.parametrize(("how", "status"), ASKED)
async def test_message_right_after_done_is_told_the_truth(
    world, nursery, autojump_clock, how, status
):
    """It begins, or the refusal names the status that the session has."""
    session_id, turn, ring = await begin(world)
    query = Query(prompt=Raw(b'"and"'), session_id=session_id)
    async with trio.open_nursery() as asking:
        asking.start_soon(getattr(Ending(world, session_id, nursery), how))
        await done(turn, ring)
        if status == "active":
            await world.sessions.send(TENANT, session_id, query)
        else:
            with pytest.raises(BadRequest, match=f"Session is {status}"):
                await world.sessions.send(TENANT, session_id, query)


@pytest.mark.parametrize(("how", "status"), ASKED)
async def test_resume_right_after_done_works(world, nursery, autojump_clock, how, status):
    """It waits for what is left of the old sandbox, and the next message is answered."""
    session_id, turn, ring = await begin(world)
    query = Query(prompt=Raw(b'"and"'), session_id=session_id)
    async with trio.open_nursery() as asking:
        asking.start_soon(allow_refusal, getattr(Ending(world, session_id, nursery), how))
        await done(turn, ring)
        if status == "ended":
            with pytest.raises(AshError, match="has ended"):
                await world.sessions.resume(TENANT, session_id)
            return
        assert "active" == (await world.sessions.resume(TENANT, session_id)).status
        await world.sessions.send(TENANT, session_id, query, "interrupt")
    assert [] == world.twice


async def allow_refusal(act):
    """Who is resumed at once may not find the status that was asked for."""
    with suppress(BadRequest):
        await act()


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("dies", {"action": "error", "error": "The agent's process ended (signal 9)"}),
        ("is_silent", {"action": "error", "error": SILENT}),
        (
            "hits_a_limit_that_ends_the_sandbox",
            {"action": "error", "error": "The sandbox is over its disk limit"},
        ),
        ("does_not_stop", {"action": "paused", "reason": "the agent did not stop and was killed"}),
        ("is_paused", {"action": "paused"}),
        ("is_stopped", {"action": "stopped"}),
        ("is_ended", {"action": "ended"}),
        ("is_shut_down", {"action": "paused", "reason": "shutdown"}),
    ],
)
async def test_timeline_tells_the_change_once(world, nursery, autojump_clock, how, expected):
    """Behind the error of the turn, if there is one; nothing that ends later says it again."""
    session_id, turn, ring = await begin(world)
    await getattr(Ending(world, session_id, nursery), how)()
    await done(turn, ring)
    at_once = await world.store.events(TENANT, session_id)
    await trio.sleep(30)
    assert at_once == await world.store.events(TENANT, session_id)
    last = at_once[-1]
    assert ("lifecycle", expected) == (last.type, msgspec.json.decode(last.data))
    assert [("lifecycle", "created"), ("lifecycle", expected["action"])] == [
        (e.type, msgspec.json.decode(e.data)["action"]) for e in at_once if e.type == "lifecycle"
    ]
    assert ("error" in [event.type for event in at_once]) == ("error" == expected["action"])


async def test_end_that_could_not_be_stored_comes_with_its_session(
    world, monkeypatch, autojump_clock
):
    """Its followers are cut; when the store works again the end and the status come together."""
    session_id, turn, ring = await begin(world)
    end_turn = world.store.end_turn

    async def fail(*args, **more):
        raise OSError("disk")

    monkeypatch.setattr(world.store, "end_turn", fail)
    await world.bridges[session_id].say_result()
    with pytest.raises(RingBroken):
        await done(turn, ring)
    seen = []

    async def look(*args, **more):
        changed = await end_turn(*args, **more)
        seen.append(status_in(world, session_id))
        return changed

    monkeypatch.setattr(world.store, "end_turn", look)
    assert "active" == (await world.sessions.resume(TENANT, session_id)).status
    assert ["error"] == seen
