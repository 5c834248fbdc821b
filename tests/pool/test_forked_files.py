"""The copy of a sandbox's files that a fork begins with."""

import pytest
import trio

from ash.errors import NotFound


@pytest.fixture
async def parent(scene):
    scene.open()
    return await scene.claim()


async def test_fork_has_a_copy_of_the_files(scene, parent):
    """It lies with those of sessions that have no sandbox."""
    async with scene.pool.forked_files(parent.id, "fork"):
        pass
    assert (scene._workspaces.kept_ids(), True) == (["fork"], parent.alive)


async def test_fork_that_does_not_come_about_leaves_no_copy(scene, parent):
    """Whatever fails behind it."""
    with pytest.raises(ZeroDivisionError):
        async with scene.pool.forked_files(parent.id, "fork"):
            raise ZeroDivisionError
    assert [] == scene._workspaces.kept_ids()


async def test_fork_of_what_is_not_there_is_refused(scene, parent):
    """Without files there is nothing to go on with."""
    with pytest.raises(NotFound):
        async with scene.pool.forked_files("nobody", "fork"):
            pass


async def test_fork_whose_caller_leaves_leaves_no_copy(scene, parent):
    """The copy is removed although the task is cancelled."""
    with trio.CancelScope() as scope:
        async with scene.pool.forked_files(parent.id, "fork"):
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert [] == scene._workspaces.kept_ids()
