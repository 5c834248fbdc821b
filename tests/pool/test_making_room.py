"""Several who need room at the same time."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.errors import Unavailable


@pytest.fixture
def hold_eviction(scene):
    """A session that is asked to give its sandbox up takes its time, and then refuses."""

    def hold(sandbox):
        asked, decided = [], trio.Event()

        async def evict():
            asked.append(sandbox)
            await decided.wait()
            return False

        sandbox.activate(evict)
        return asked, decided

    return hold


async def test_two_resumes_do_not_evict_for_the_same_place(scene, hold_eviction, nursery):
    """The second waits until the first has its room, and asks no session meanwhile."""
    scene.open(sandboxes=1)
    asked, decided = hold_eviction(await scene.claim())

    async def claim_again(sandbox_id):
        with pytest.raises(Unavailable):
            await scene.pool.claim_again(sandbox_id, scene.spec(restore=True))

    nursery.start_soon(claim_again, "one")
    nursery.start_soon(claim_again, "another")
    await wait_all_tasks_blocked()
    assert (1, 2) == (len(asked), scene.pool.statistics().claims_waiting)
    decided.set()
    await wait_all_tasks_blocked()
    assert (2, 0) == (len(asked), scene.pool.statistics().claims_waiting)
