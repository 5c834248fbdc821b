"""Who gets which sandbox."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.errors import Conflict, Unavailable
from ash.limits import Limits
from ash.protocol import Open

PLAIN = Open(session_id="")


async def test_claim_without_a_warm_one_boots_one(scene):
    """Who finds nothing warm gets one that is made for it."""
    scene.open()
    sandbox = await scene.claim()
    assert (True, (0, 1, 1)) == (sandbox.alive, scene.counts)
    assert 0 == scene.pool.stats().pre_warm_hits


async def test_claim_takes_a_warm_one(scene):
    """A sandbox that was booted in advance is handed out with its id, and replaced."""
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    (warm,) = scene.ids
    assert warm == (await scene.claim()).id
    assert 1 == scene.pool.stats().pre_warm_hits
    await wait_all_tasks_blocked()
    assert (1, 1, 2) == scene.counts


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "other"},
        {"agent": "b"},
        {"version": 2},
        {"limits": Limits(memory_mb=65, cpu_percent=50, disk_mb=16, max_processes=30)},
    ],
    ids=["tenant", "agent", "version", "limits"],
)
async def test_claim_takes_none_of_another_kind(scene, other):
    """Another tenant, agent or version, and limits that are fixed at the start: never."""
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    sandbox = await scene.claim(**other)
    assert (2, 0) == (len(scene.maker.made), scene.pool.stats().pre_warm_hits)
    assert scene.spec(**other) == sandbox.spec


async def test_claim_takes_one_that_is_still_warming(scene, nursery):
    """A boot that has begun is not begun again: the claim waits for its rest."""
    scene.open()
    scene.maker.hold()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    (warming,) = scene.ids
    sandbox = await scene.pool.claim(scene.spec())
    assert (warming, False) == (sandbox.id, sandbox.ready.is_set())
    scene.maker.let_go()
    await scene.pool.boot(sandbox, PLAIN)
    assert sandbox.alive
    assert 1 == len(scene.maker.made[0].opened)


async def test_claim_prefers_a_warm_one_to_a_warming_one(scene):
    """What is booted goes first, however long the other one has been at it."""
    scene.open()
    scene.maker.hold()
    scene.keep_warm(count=1)
    await wait_all_tasks_blocked()
    (warming,) = scene.ids
    scene.maker.gate, held = trio.Event(), scene.maker.gate
    scene.maker.let_go()
    other = scene.pool._add(scene.spec())
    await scene.pool.boot(other, PLAIN)
    assert other is await scene.pool.claim(scene.spec())
    claimed = await scene.pool.claim(scene.spec())
    assert warming == claimed.id
    held.set()
    await claimed.ready.wait()


async def test_two_claims_get_two_sandboxes(scene):
    """One sandbox is never one of two sessions."""
    scene.open()
    scene.keep_warm(count=2)
    await wait_all_tasks_blocked()
    claimed = [await scene.pool.claim(scene.spec()) for _ in range(3)]
    assert 3 == len({sandbox.id for sandbox in claimed})


@pytest.mark.parametrize("how", ["die", "lose_engine"])
async def test_dead_warm_one_is_never_seen(scene, how):
    """A warm sandbox whose bridge or engine has died is thrown away, and not handed out."""
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    (dead,) = scene.ids
    if how == "die":
        scene.maker.last.die()
    else:
        await scene.maker.last.lose_engine()
    await wait_all_tasks_blocked()
    sandbox = await scene.claim()
    assert dead != sandbox.id
    assert (True, False) == (sandbox.alive, dead in scene.ids)


async def test_one_that_just_fails_is_not_claimed(scene):
    """A boot that has failed is nobody's, while its remains are still there."""
    scene.open()
    scene.maker.refusal = "no"
    scene.keep_warm()
    while not any(sandbox.failed for sandbox in scene.sandboxes):
        await trio.lowlevel.checkpoint()
    (failing,) = scene.ids
    scene.maker.refusal = ""
    assert failing != (await scene.claim()).id


async def test_released_box_that_was_not_booted_is_forgotten(scene):
    """A claim that came to no session leaves no trace, and its room is free again."""
    scene.open(sandboxes=1)
    sandbox = await scene.pool.claim(scene.spec())
    scene.pool.release(sandbox)
    assert (True, (0, 0, 0)) == (sandbox.gone.is_set(), scene.counts)
    await scene.claim()


async def test_released_box_that_was_booted_is_ended(scene):
    """A warm one that nobody took in the end goes, with its files; another takes its place."""
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    sandbox = await scene.pool.claim(scene.spec())
    scene.pool.release(sandbox)
    await sandbox.gone.wait()
    await wait_all_tasks_blocked()
    assert (False, (1, 0, 1)) == (sandbox.kept, scene.counts)


async def test_session_that_is_resumed_has_its_files_again(scene):
    """A new sandbox under the same id goes on with what was kept of the last one."""
    scene.open()
    sandbox = await scene.claim()
    (scene.maker.last.paths.workspace / "work").touch()
    sandbox.close()
    await sandbox.gone.wait()
    again = await scene.claim_again(sandbox.id)
    assert (sandbox.id, "local") == (again.id, again.source)
    assert (scene.maker.last.paths.workspace / "work").exists()


async def test_session_is_not_resumed_twice(scene):
    """Of two who try only one gets a sandbox."""
    scene.open()
    sandbox = await scene.claim()
    with pytest.raises(Conflict):
        await scene.pool.claim_again(sandbox.id, scene.spec(restore=True))
    assert sandbox.alive


async def test_resuming_makes_room_as_creating_does(scene):
    """A session that comes back may cost another one its sandbox, or be refused."""
    scene.open(sandboxes=1)
    other = await scene.claim("b")
    scene.keep_busy(await scene.claim_again("the-id"))
    assert [other] == scene.evicted
    with pytest.raises(Unavailable):
        await scene.pool.claim_again("another", scene.spec(restore=True))
