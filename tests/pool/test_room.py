"""Who has to go when there is no room."""

import trio
from trio.testing import wait_all_tasks_blocked


async def test_warm_ones_go_first(scene):
    """Before any session has to, a sandbox goes that nobody has."""
    scene.open(sandboxes=2)
    await scene.claim("a")
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    await scene.claim("c")
    assert (["a", "c"], []) == (scene.agents, scene.evicted)


async def test_longest_waiting_goes_next(scene, autojump_clock):
    """The session whose last turn is longest ago is paused, its files are kept."""
    scene.open(sandboxes=2)
    old, young = await scene.claim("a"), await scene.claim("b")
    await trio.sleep(1)
    scene.settle(young)
    await trio.sleep(1)
    await scene.claim("c")
    assert [old] == scene.evicted
    assert (True, 1) == (old.kept, scene.pool.stats().cold)
    await trio.sleep(1)
    await scene.claim("d")
    assert [old, young] == scene.evicted


async def test_running_never_goes(scene):
    """When all are busy the claim is refused, and the client told when to try again."""
    scene.open(sandboxes=2)
    for agent in "ab":
        scene.keep_busy(await scene.claim(agent))
    refusal = await scene.refused()
    assert (503, "5") == (refusal.status, refusal.headers["Retry-After"])
    assert "All 2 sandboxes are busy: try again, or end one" == refusal.text
    assert ["a", "b"] == scene.agents


async def test_session_that_does_not_let_go_is_passed_over(scene):
    """One that began a turn just now is no longer waiting: the next one goes."""
    scene.open(sandboxes=2)
    first, second = await scene.claim("a"), await scene.claim("b")
    scene.settle(first, lets_go=False)
    await scene.claim("c")
    assert [second] == scene.evicted


async def test_claim_is_refused_when_no_session_lets_go(scene):
    """Each is asked once, and then the client is told."""
    scene.open(sandboxes=2)
    for agent in "ab":
        scene.settle(await scene.claim(agent), lets_go=False)
    await scene.refused()
    assert (["a", "b"], []) == (scene.agents, scene.evicted)


async def test_one_that_is_leaving_is_waited_for(scene):
    """No session is evicted while another's sandbox is on its way out."""
    scene.open(sandboxes=2)
    _, leaving = await scene.claim("a"), await scene.claim("b")
    leaving.close()
    await scene.claim("c")
    assert (["a", "c"], []) == (scene.agents, scene.evicted)


async def test_claims_that_wait_for_room_evict_one_each(scene, nursery):
    """Three creates on a full pool cost three sessions, not more."""
    scene.open(sandboxes=6)
    for agent in "abcdef":
        await scene.claim(agent)
    async with trio.open_nursery() as creates:
        for agent in "xyz":
            creates.start_soon(scene.claim, agent)
    assert (3, ["d", "e", "f", "x", "y", "z"]) == (len(scene.evicted), sorted(scene.agents))


async def test_warm_ones_do_not_take_the_room_that_was_made(scene):
    """What a create has evicted a session for is the create's."""
    scene.open(sandboxes=2)
    await scene.claim("a")
    await scene.claim("b")
    scene.keep_warm("z")
    await wait_all_tasks_blocked()
    for _ in range(20):
        await scene.claim("c")
    assert (20, 2 + 20) == (len(scene.evicted), scene.records.added)


async def test_warm_claim_does_not_wait_for_room(scene, nursery):
    """A claim that finds a warm one gets it while another waits for a sandbox to end."""
    scene.open(sandboxes=2)
    leaving = await scene.claim("a")
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    turn = trio.Event()
    leaving.start(turn.wait, is_turn=True)
    leaving.close()
    nursery.start_soon(scene.claim, "c")
    await wait_all_tasks_blocked()
    warm = await scene.pool.claim(scene.spec("b"))
    assert (True, 1) == (warm.alive, scene.pool.statistics().claims_waiting)
    turn.set()
    await wait_all_tasks_blocked()
    assert (0, ["b", "c"]) == (scene.pool.statistics().claims_waiting, scene.agents)


async def test_no_more_live_than_there_is_room(scene):
    """The limit counts all that live, warm and warming ones too."""
    scene.open(sandboxes=3)
    scene.keep_warm("w", count=3)
    await wait_all_tasks_blocked()
    for agent in "abcd":
        await scene.claim(agent)
        await wait_all_tasks_blocked()
        assert 3 >= sum(not process.ended.is_set() for process in scene.maker.made)
