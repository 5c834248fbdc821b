"""Whoever asks at the same time: one wins, the others are told why not."""

from collections import Counter
from itertools import count
from random import Random

import msgspec
import pytest
import trio
from msgspec import Raw

from ash.errors import AshError
from ash.events import unwrap
from ash.lifecycle import CHANGES
from ash.protocol import Exec, Query
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"
SEEDS = range(200)
OWN_SEEDS = range(60)
# More than any of it may take on the clock that jumps: what takes longer hangs.
PATIENCE = 600

SETTLED = {"paused", "stopped", "ended", "error"}

# Where an entry of the timeline says that its session has come to.
TARGETS = {
    "created": "active",
    "resumed": "active",
    "paused": "paused",
    "stopped": "stopped",
    "ended": "ended",
    "error": "error",
}


class Callers:
    """What some callers did to some sessions, and what came of it."""

    def __init__(self, world, seed):
        self.world = world
        self.sessions = world.sessions
        self.random = Random(seed)
        self.errors = []
        self.accepted = Counter()
        self.inherited = {}
        self.rings = []
        self.ids = []
        self.numbers = count()

    async def create(self):
        session = await self.sessions.create(TENANT, NewSession(agent="helper"))
        self.ids.append(session.id)

    async def act(self, actions):
        for action, session_id, pause in actions:
            await trio.sleep(pause)
            try:
                await getattr(self, action)(session_id)
            except AshError as error:
                self.errors.append((action, error))

    async def pause(self, session_id):
        await self.sessions.pause(TENANT, session_id)

    async def stop(self, session_id):
        await self.sessions.stop(TENANT, session_id)

    async def resume(self, session_id):
        session = await self.sessions.resume(TENANT, session_id)
        assert "active" == session.status

    async def end(self, session_id):
        session = await self.sessions.end(TENANT, session_id)
        assert "ended" == session.status

    async def interrupt(self, session_id):
        await self.sessions.interrupt(TENANT, session_id)

    async def exec(self, session_id):
        await self.sessions.exec(TENANT, session_id, Exec(command="true"))

    async def message(self, session_id, when_busy="refuse"):
        prompt = b'"%d"' % next(self.numbers)
        query = Query(prompt=Raw(prompt), session_id=session_id)
        turn, ring = await self.sessions.send(TENANT, session_id, query, when_busy)
        self.accepted[session_id] += 1
        frames = []
        await follow(turn, ring, frames)
        self.rings.append(frames)

    async def message_queued(self, session_id):
        await self.message(session_id, "queue")

    async def message_that_interrupts(self, session_id):
        await self.message(session_id, "interrupt")

    async def evict(self, session_id):
        if live := self.sessions._live_sessions.get(session_id):
            await live.evict()

    async def configure(self, session_id):
        model = self.random.choice("abcdef")
        session = await self.sessions.configure(TENANT, session_id, {"model": model})
        assert session.model is not None

    async def kill(self, session_id):
        if bridge := self.world.bridges.get(session_id):
            bridge.kill()

    async def work_by_itself(self, session_id):
        """What the agent does of its own accord, meanwhile."""
        if bridge := self.world.bridges.get(session_id):
            await bridge.agent.work_by_itself(bridge)

    async def leave_early(self, session_id):
        """Somebody who asks and does not wait for the answer."""
        asked = self.random.choice((self.resume, self.stop, self.pause, self.end, self.message))
        with trio.move_on_after(self.random.choice((0, 0.001, 0.1, 1))):
            await asked(session_id)

    async def fork(self, session_id, when_busy="refuse"):
        fork = await self.sessions.fork(TENANT, session_id, None, when_busy)
        assert ("paused", session_id) == (fork.status, fork.parent_session_id)
        self.ids.append(fork.id)
        self.inherited[fork.id] = await said(self.world, fork.id)
        if self.random.random() < 0.5:
            await self.resume(fork.id)
            await self.message(fork.id)

    async def fork_queued(self, session_id):
        await self.fork(session_id, "queue")

    async def another(self, session_id):
        await self.create()


ACTIONS = (
    *("pause", "stop", "resume", "resume", "interrupt", "exec", "evict", "configure"),
    *("message", "message", "message_queued", "message_that_interrupts"),
)


async def follow(turn, ring, frames):
    cursor = turn.first_frame
    while turn.last_frame is None or cursor <= turn.last_frame:
        end = None if turn.last_frame is None else turn.last_frame + 1
        shown, cursor = await ring.read(cursor, end)
        frames += [unwrap(data)[1].event for data in shown]


def plan(random, ids, *more):
    """What each caller does, one thing after the other."""
    choices = [*ACTIONS, "leave_early", "another", "fork", "fork_queued", *more]
    return [
        [
            (random.choice(choices), random.choice(ids), random.choice((0, 0, 0.001, 0.1, 2)))
            for _ in range(random.randrange(2, 6))
        ]
        for _ in range(random.randrange(2, 6))
    ]


def follows(actions):
    """Whether a timeline can come of the table; what has no event of its own may lie between."""
    is_fork = actions[0] == "forked"
    may = {"paused" if is_fork else "starting"}
    for action in actions[is_fork:]:
        before = may | {CHANGES["wake"].target for s in may if s in CHANGES["wake"].sources}
        target = TARGETS[action]
        if not any(
            change.target == target and before & set(change.sources) for change in CHANGES.values()
        ):
            return False
        may = {target}
    return True


async def lifecycle(world, session_id):
    rows = await world.store.events(TENANT, session_id, limit=1000, kind="lifecycle")
    return [msgspec.json.decode(row.data)["action"] for row in rows]


async def said(world, session_id):
    rows = await world.store.messages(TENANT, session_id, limit=1000)
    return [(row.role, row.content) for row in rows]


@pytest.mark.parametrize("seed", SEEDS)
async def test_racing_callers(seed, tmp_path, monkeypatch, autojump_clock):
    """Whatever the order, the rows, the timeline, the turns and the sandboxes agree."""
    random = Random(seed)
    with trio.fail_after(PATIENCE):
        idle = random.choice((0, 0, 5.0))
        async with opened(seed, tmp_path, monkeypatch, idle_timeout=idle) as world:
            await world.deploy("helper")
            callers = Callers(world, seed)
            for _ in range(2):
                await callers.create()
            world.deaths = seed % 3 == 0
            ids = callers.ids[: 1 + seed % 2]
            more = [*(["kill"] if world.deaths else []), *(["end"] if seed % 4 == 1 else [])]
            planned = plan(random, ids, *more)
            async with trio.open_nursery() as nursery:
                for actions in planned:
                    nursery.start_soon(callers.act, actions)
            await check(world, callers)
            await world.sessions.shut_down(3)
            await check_rest(world, callers)


@pytest.mark.parametrize("seed", OWN_SEEDS)
async def test_racing_callers_of_an_agent_that_works_by_itself(
    seed, tmp_path, monkeypatch, autojump_clock
):
    """Its own turns are never part of an answer, and hold nobody up."""
    random = Random(seed)
    with trio.fail_after(PATIENCE):
        async with opened(seed, tmp_path, monkeypatch, idle_timeout=5.0) as world:
            await world.deploy("helper")
            callers = Callers(world, seed)
            await callers.create()
            planned = plan(random, callers.ids, *["work_by_itself"] * 8)
            async with trio.open_nursery() as nursery:
                for actions in planned:
                    nursery.start_soon(callers.act, actions)
            await check(world, callers)
            for session_id in callers.ids:
                await check_turns(world, session_id)
            await world.sessions.shut_down(3)
            await check_rest(world, callers)


async def check_turns(world, session_id):
    """Each begins and ends before the next one."""
    frames = await world.store.frames_after(TENANT, session_id, after=0, limit=1000)
    ends = [frame.event for frame in frames if frame.event in {"session_start", "done"}]
    assert ["session_start", "done"] * (len(ends) // 2) == ends


async def check(world, callers):
    """What must be so when all callers have their answer."""
    assert [] == world.twice
    allowed = {400, 409, 410, 503, *([502] if world.deaths else [])}
    assert [] == [repr(error) for _, error in callers.errors if error.status not in allowed]
    for frames in callers.rings:
        assert (("session_start", "done"), 1) == ((frames[0], frames[-1]), frames.count("done"))
    await trio.sleep(60)
    for session_id in callers.ids:
        live = world.sessions.statistics().sessions.get(session_id)
        session = await world.sessions.get(TENANT, session_id)
        assert session.status in ({"active", "paused"} if live else SETTLED)
        if live:
            assert (session, False) == (live.session, live.in_turn)
            assert live.idle_since is not None


async def check_rest(world, callers):
    """What must be so when nothing runs any more."""
    assert ({}, {}, Counter()) == (world.bridges, world.sessions.statistics().sessions, world.tally)
    for session_id in callers.ids:
        session = await world.sessions.get(TENANT, session_id)
        assert session.status in SETTLED
        actions = await lifecycle(world, session_id)
        assert follows(actions), actions
        assert TARGETS.get(actions[-1], "paused") == session.status
        messages = await said(world, session_id)
        prompts = sum(role == "user" for role, _ in messages)
        assert callers.accepted[session_id] <= prompts
        begun_with = callers.inherited.get(session_id, [])
        parents = await said(world, session.parent_session_id or session_id)
        assert begun_with == messages[: len(begun_with)] == parents[: len(begun_with)]
    assert [] == await world.store.open_turns("standalone")
