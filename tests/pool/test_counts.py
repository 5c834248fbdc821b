"""What is counted, and what is remembered across restarts."""

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.errors import Unavailable
from ash.protocol import Open
from tests.support.pool import MemorySandboxRecords


async def test_cold_ones_are_counted_across_a_restart(scene):
    """What earlier lives of the daemon have kept is counted from the start."""
    scene.records = MemorySandboxRecords(cold=7)
    scene.open()
    await wait_all_tasks_blocked()
    sandbox = await scene.claim()
    assert (7, 8) == (scene.pool.stats().cold, scene.pool.stats().total)
    sandbox.close()
    await sandbox.gone.wait()
    assert (8, 8) == (scene.pool.stats().cold, scene.pool.stats().total)


async def test_records_follow_each_sandbox(scene):
    """Live while it lives; cold if a session's files are kept, else forgotten."""
    scene.open()
    scene.keep_warm("warm")
    sandbox = await scene.claim("a")
    await wait_all_tasks_blocked()
    assert ["live", "live"] == list(scene.records.rows.values())
    sandbox.close()
    scene.pool.stop_keeping_warm("default", "warm")
    await wait_all_tasks_blocked()
    assert {sandbox.id: "cold"} == scene.records.rows


async def test_cold_one_that_wakes_is_counted_as_what_it_is(scene):
    """Files that were kept are cold, then a live sandbox's, then cold again."""
    scene.open()
    sandbox = await scene.claim()
    sandbox.close()
    await sandbox.gone.wait()
    again = await scene.claim_again(sandbox.id)
    assert ((0, 1, 1), 0) == (scene.counts, scene.pool.stats().cold)
    again.close()
    await wait_all_tasks_blocked()
    assert (1, {sandbox.id: "cold"}) == (scene.pool.stats().total, scene.records.rows)


@pytest.mark.parametrize("how", ["fails", "is closed"])
async def test_cold_one_that_does_not_wake_stays_cold(scene, nursery, how):
    """A resume that came to nothing leaves the counts and the files as they were."""
    scene.open(boots=1)
    sandbox = await scene.claim()
    sandbox.close()
    await sandbox.gone.wait()
    if how == "fails":
        scene.maker.refusal = "no"
        await scene.claim_again(sandbox.id)
    else:
        scene.maker.hold()
        busy = await scene.pool.claim(scene.spec())
        again = await scene.pool.claim_again(sandbox.id, scene.spec(restore=True))
        for each in (busy, again):
            nursery.start_soon(scene.pool.boot, each, PLAIN)
            await wait_all_tasks_blocked()
        again.close()
        await again.gone.wait()
    await wait_all_tasks_blocked()
    assert (1, 1) == (scene.pool.stats().cold, scene.kept)
    assert "cold" == scene.records.rows[sandbox.id]


async def test_resumes_are_counted_by_what_they_came_from(scene):
    """Warm or cold, and the cold ones by where their files were."""
    scene.open()
    scene.pool.resumed("warm")
    scene.pool.resumed("cold", "local")
    scene.pool.resumed("cold", "fresh")
    stats = scene.pool.stats()
    assert (1, 2) == (stats.resume_warm_hits, stats.resume_cold_hits)
    assert (1, 0, 1) == (
        stats.resume_cold_local_hits,
        stats.resume_cold_cloud_hits,
        stats.resume_cold_fresh_hits,
    )


async def test_sandbox_that_can_not_be_remembered_is_not_made(scene):
    """The create fails with what the store says, and the pool goes on."""
    scene.open(sandboxes=1)
    scene.records.failing = {"added"}
    sandbox = await scene.claim()
    assert ("The database is busy", 0) == (sandbox.failure.text, len(scene.maker.made))
    scene.records.failing = set()
    assert (await scene.claim()).alive


async def test_end_that_can_not_be_remembered_costs_no_one(scene):
    """What the store could not be told of is settled at the next start, and not counted before."""
    scene.open()
    sandbox = await scene.claim()
    scene.records.failing = {"cold"}
    sandbox.close()
    await wait_all_tasks_blocked()
    assert ((0, 0, 0), 0) == (scene.counts, scene.pool.stats().cold)
    assert (await scene.claim()).alive


PLAIN = Open(session_id="")


class Load:
    """What may happen to a pool, in any order."""

    def __init__(self, scene):
        self.scene = scene
        self.chance = random.Random(7)
        self.sandboxes = []
        self.busy = []

    @property
    def alive(self):
        return [sandbox for sandbox in self.sandboxes if sandbox.alive]

    async def create(self):
        try:
            self.sandboxes.append(await self.scene.claim(self.chance.choice("abc")))
        except Unavailable:
            assert all(sandbox.claimed for sandbox in self.scene.sandboxes)

    def act(self, creates):
        match self.chance.randrange(8):
            case 0 | 1 | 2:
                creates.start_soon(self.create)
            case 3:
                self.scene.keep_warm(self.chance.choice("abc"), count=self.chance.randrange(3))
            case 4 if self.alive:
                self.busy.append(self.scene.keep_busy(self.chance.choice(self.alive)))
            case 5 if self.busy:
                self.busy.pop().set()
            case 6 if self.alive:
                self.chance.choice(self.alive).close()
            case 7 if self.scene.maker.made:
                self.chance.choice(self.scene.maker.made).die()

    def check(self):
        stats = self.scene.pool.stats()
        states = (stats.warming, stats.warm, stats.waiting, stats.running)
        assert min(states) >= 0
        assert stats.total == stats.cold + sum(states)
        assert stats.max_capacity >= len(self.scene.sandboxes) == sum(states)


async def test_stats_add_up_under_any_load(scene):
    """Whatever comes in whatever order, each sandbox is counted once, in the state it is in."""
    pool = scene.open(sandboxes=5, warm=2, boots=2)
    load = Load(scene)
    async with trio.open_nursery() as creates:
        for _ in range(400):
            load.act(creates)
            for _ in range(load.chance.randrange(4)):
                await trio.lowlevel.checkpoint()
            load.check()
    for sandbox in load.sandboxes:
        sandbox.close()
    await pool.close()
    await wait_all_tasks_blocked()
    load.check()
    assert (0, 0, 0) == scene.counts
    assert scene.kept == pool.stats().cold > 0
    assert {"cold"} == set(scene.records.rows.values())
    assert all(process.ended.is_set() for process in scene.maker.made)
