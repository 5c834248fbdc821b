"""When whoever stops a turn may go on."""

import trio
from trio.testing import wait_all_tasks_blocked

from ash.sessions.turn import STEP_SECONDS


async def test_stop_that_kills_returns_when_the_end_is_stored(scene, nursery, mock_clock):
    """The kill is not the end: the turn still has to store its end."""
    stopped = trio.Event()
    turn = await scene.accepted()
    scene.store.gates["end_turn"] = trio.Event()

    async def stop():
        await turn.stop("stopped")
        stopped.set()

    nursery.start_soon(stop)
    for _ in range(2):
        await wait_all_tasks_blocked()
        mock_clock.jump(STEP_SECONDS + 0.1)
    await wait_all_tasks_blocked()
    at_the_kill = turn.killed, stopped.is_set()
    scene.store.gates["end_turn"].set()
    await stopped.wait()
    assert (True, False) == at_the_kill
    assert [("stopped",)] == scene.rows("SELECT reason FROM turns")
