"""The end of the pool."""

import trio
from trio.testing import wait_all_tasks_blocked


async def test_closed_pool_takes_no_claims(scene):
    """Warm ones are not handed out either."""
    scene.open()
    scene.keep_warm()
    await wait_all_tasks_blocked()
    async with trio.open_nursery() as closing:
        closing.start_soon(scene.pool.close)
        await wait_all_tasks_blocked()
        assert "The server is shutting down" == (await scene.refused("a")).text


async def test_closing_ends_what_no_session_holds(scene):
    """Warm and warming ones end; what a session has, the session ends."""
    scene.open()
    sandbox = await scene.claim("a")
    scene.keep_warm("b")
    await wait_all_tasks_blocked()
    scene.maker.hold()
    scene.keep_warm("c")
    await wait_all_tasks_blocked()
    await scene.pool.close()
    assert (["a"], True) == (scene.agents, sandbox.alive)
