"""What is booted before anyone asks for it."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.pool.warm_targets import LEAST_LIFE
from ash.protocol import Open

PLAIN = Open(session_id="")


async def test_warm_ones_are_booted_before_anyone_asks(scene):
    """As many as are asked for are booted, one at a time."""
    scene.open()
    scene.maker.hold()
    scene.keep_warm(count=3)
    await wait_all_tasks_blocked()
    assert 1 == len(scene.maker.made)
    scene.maker.let_go()
    await wait_all_tasks_blocked()
    assert (3, 0, 3) == scene.counts


async def test_agent_asked_for_last_is_booted_first(scene, autojump_clock):
    """Of several agents the one that was in use last gets its sandboxes first."""
    scene.open(warm=3)
    scene.maker.hold()
    scene.keep_warm("a")
    await wait_all_tasks_blocked()
    for agent in ("b", "c", "d"):
        await trio.sleep(1)
        scene.keep_warm(agent)
    scene.maker.let_go()
    await wait_all_tasks_blocked()
    assert ["a", "d", "c"] == scene.agents


async def test_warm_ones_are_bounded(scene):
    """However many agents there are, no more than `warm` sandboxes wait for a session."""
    scene.open(warm=2)
    for agent in "abc":
        scene.keep_warm(agent)
    await wait_all_tasks_blocked()
    assert (2, 0, 2) == scene.counts


async def test_warm_ones_evict_nobody(scene):
    """Nobody is evicted for a sandbox that may never be asked for."""
    scene.open(sandboxes=1)
    await scene.claim("a")
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    assert (["a"], []) == (scene.agents, scene.evicted)


async def test_creates_go_before_warm_ones(scene, nursery):
    """While a session waits for its boot no warm one is booted; afterwards it is."""
    scene.open()
    scene.maker.hold()
    sandbox = await scene.pool.claim(scene.spec("a"))
    scene.keep_warm("a")
    nursery.start_soon(scene.pool.boot, sandbox, PLAIN)
    await wait_all_tasks_blocked()
    assert 1 == len(scene.maker.made)
    scene.maker.let_go()
    await wait_all_tasks_blocked()
    assert 2 == len(scene.maker.made)


async def test_warm_one_that_does_not_boot_is_not_tried_again(scene):
    """It would fail again and again; the next create or deploy asks for it anew."""
    scene.open()
    scene.maker.refusal = "broken"
    scene.keep_warm("a")
    await wait_all_tasks_blocked()
    scene.maker.refusal = ""
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    assert (2, ["b"]) == (len(scene.maker.made), scene.agents)
    scene.keep_warm("a")
    await wait_all_tasks_blocked()
    assert ["b", "a"] == scene.agents


@pytest.mark.parametrize(("age", "replaced"), [(LEAST_LIFE - 1, False), (LEAST_LIFE, True)])
async def test_warm_one_that_dies_is_replaced_unless_it_was_young(
    scene, autojump_clock, age, replaced
):
    """One that dies at once, unused, would do so for ever: the machine would boot all day."""
    await trio.sleep(1000)
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    await trio.sleep(age)
    scene.maker.last.die()
    await wait_all_tasks_blocked()
    assert (int(replaced), 0, int(replaced)) == scene.counts


async def test_boot_that_was_cut_short_is_made_good(scene):
    """One that had to make room while it booted is booted again when there is some."""
    scene.open(sandboxes=1)
    scene.maker.hold()
    scene.keep_warm("a")
    await wait_all_tasks_blocked()
    sandbox = await scene.pool.claim(scene.spec("b"))
    scene.maker.let_go()
    await scene.pool.boot(sandbox, PLAIN)
    sandbox.close()
    await sandbox.gone.wait()
    await wait_all_tasks_blocked()
    assert ["a"] == scene.agents


async def test_deploy_replaces_warm_ones(scene):
    """Nothing of an earlier version stays warm; sessions that have one keep it."""
    scene.open()
    claimed = await scene.claim()
    scene.keep_warm(version=1)
    await wait_all_tasks_blocked()
    scene.keep_warm(version=2)
    await wait_all_tasks_blocked()
    versions = [(sandbox.key.version, sandbox.claimed) for sandbox in scene.sandboxes]
    assert [(1, True), (2, False)] == versions
    assert claimed.alive


async def test_deploy_replaces_one_that_is_warming(scene):
    """A boot of the earlier version is given up."""
    scene.open()
    scene.maker.hold()
    scene.keep_warm(version=1)
    await wait_all_tasks_blocked()
    scene.keep_warm(version=2)
    await wait_all_tasks_blocked()
    scene.maker.let_go()
    await wait_all_tasks_blocked()
    assert [2] == scene.versions


async def test_earlier_version_s_death_does_not_count_against_the_next(scene):
    """What dies while its successor is deployed says nothing of that one."""
    scene.open(sandboxes=1)
    scene.keep_warm(version=1)
    await wait_all_tasks_blocked()
    scene.maker.last.die()
    while not scene.sandboxes[0].failed:
        await trio.lowlevel.checkpoint()
    scene.keep_warm(version=2)
    await wait_all_tasks_blocked()
    assert [2] == scene.versions


async def test_earlier_version_is_not_kept_warm_again(scene):
    """A create that had read the agent before the deploy does not turn it back."""
    scene.open()
    scene.keep_warm(version=2)
    scene.keep_warm(version=1)
    await wait_all_tasks_blocked()
    assert [2] == scene.versions


async def test_deleted_agent_keeps_none_warm(scene):
    """Its warm sandboxes end and none is made; those of sessions and of others stay."""
    scene.open()
    await scene.claim("a")
    scene.keep_warm("a")
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    scene.pool.stop_keeping_warm("default", "a")
    await wait_all_tasks_blocked()
    assert (["a", "b"], (1, 1, 2)) == (scene.agents, scene.counts)
