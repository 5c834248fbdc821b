"""How many engines start at a time."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.protocol import Open

PLAIN = Open(session_id="")


@pytest.mark.parametrize("boots", [1, 2])
async def test_boots_are_limited(scene, boots):
    """Only so many engines start at a time, however many are wanted."""
    scene.open(boots=boots)
    scene.maker.hold()
    async with trio.open_nursery() as creates:
        for _ in range(5):
            creates.start_soon(scene.claim)
        await wait_all_tasks_blocked()
        assert (boots, 5) == (len(scene.maker.made), scene.pool.stats().warming)
        statistics = scene.pool.statistics()
        assert (boots, 5 - boots) == (statistics.boots_running, statistics.boots_waiting)
        scene.maker.let_go()
    assert (0, 5, 5) == scene.counts


async def test_boots_follow_the_order_of_the_creates(scene):
    """Who came first is booted first."""
    scene.open(boots=1)
    scene.maker.hold()
    sandboxes = [await scene.pool.claim(scene.spec()) for _ in range(5)]
    async with trio.open_nursery() as creates:
        for sandbox in sandboxes:
            creates.start_soon(scene.pool.boot, sandbox, PLAIN)
            await wait_all_tasks_blocked()
        scene.maker.let_go()
    assert [sandbox.id for sandbox in sandboxes] == [
        made.opened[0].session_id for made in scene.maker.made
    ]


async def test_closed_box_does_not_wait_for_its_boot(scene):
    """A session that is ended before its turn to boot came is gone at once, and boots never."""
    scene.open(boots=1)
    scene.maker.hold()
    first, second = [await scene.pool.claim(scene.spec()) for _ in range(2)]
    async with trio.open_nursery() as creates:
        creates.start_soon(scene.pool.boot, first, PLAIN)
        await wait_all_tasks_blocked()
        creates.start_soon(scene.pool.boot, second, PLAIN)
        await wait_all_tasks_blocked()
        second.close()
        await second.gone.wait()
        assert (1, False) == (len(scene.maker.made), first.gone.is_set())
        scene.maker.let_go()
    assert (False, None) == (second.kept, second.failure)


async def test_failed_boot_makes_way(scene):
    """A boot that fails gives its turn to the next one."""
    scene.open(boots=1)
    scene.maker.refusal = "no"
    sandboxes = [await scene.claim() for _ in range(3)]
    assert ["no"] * 3 == [sandbox.failure.text for sandbox in sandboxes]
    scene.maker.refusal = ""
    assert (await scene.claim()).alive
