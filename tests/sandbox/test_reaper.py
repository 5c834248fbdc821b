"""Orphans of dead sandboxes."""

import os
import subprocess

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.sandbox.process import Spawner, reap_orphans
from tests.support.processes import gone, parent


@pytest.fixture
def spawner():
    spawner = Spawner()
    yield spawner
    spawner.close()


@pytest.fixture
async def reaping(spawner):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reap_orphans, spawner)
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


async def orphan(spawner, folder):
    """The pid of a process whose parent has ended, and that ends when `folder/end` is written."""
    script = "mkfifo end; setsid sh -c 'echo $$; exec >&-; read line < end' &"
    argv = ["/bin/sh", "-c", script]
    process = await spawner.start(argv, env={}, cwd=folder, pass_fds=())
    pid = int(await process.stdout.receive_some())
    await process.wait()
    await process.aclose()
    return pid


async def test_orphan_is_reaped(reaping, spawner, tmp_path):
    """What a dead parent left is taken in, and reaped when it ends."""
    pid = await orphan(spawner, tmp_path)
    assert os.getpid() == parent(pid)
    await trio.Path(tmp_path / "end").write_text("now\n")
    await gone(pid)


async def test_status_of_our_own_processes_is_left_to_us(reaping, spawner, tmp_path):
    """A process that ends at once is not taken from who waits for it."""
    statuses = []
    for _ in range(30):
        argv = ["/bin/sh", "-c", "exit 7"]
        process = await spawner.start(argv, env={}, cwd=tmp_path, pass_fds=())
        statuses.append(await process.wait())
        await process.aclose()
    assert [7] * 30 == statuses


async def test_processes_of_the_program_around_us_are_left_to_it(reaping, spawner, tmp_path):
    """Who uses ash as a library starts processes too, and waits for them itself."""
    theirs = await trio.to_thread.run_sync(subprocess.Popen, ["/bin/sh", "-c", "exit 7"])
    pid = await orphan(spawner, tmp_path)
    await trio.Path(tmp_path / "end").write_text("now\n")
    await gone(pid)
    assert 7 == theirs.wait()


async def test_orphans_are_init_s_again_afterwards(spawner, tmp_path):
    """What is in the process of somebody else is put back as it was."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reap_orphans, spawner)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    pid = await orphan(spawner, tmp_path)
    assert parent(pid) not in {None, os.getpid()}
    await trio.Path(tmp_path / "end").write_text("now\n")
