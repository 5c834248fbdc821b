import os
import signal

import pytest
import trio

from ash.limits import Limits, cgroupfs, open_resource_groups
from ash.limits.detect import CgroupSupport
from tests.support.processes import alive, stopped
from tests.support.waiting import block_until

# Double-forked, in a session of its own, deaf to every signal that can be refused, and started
# by a parent that is gone. Prints its id.
OUTCAST = """
(setsid /bin/bash -c 'trap "" TERM HUP INT QUIT; echo $$; while :; do sleep 1000; done' &)
sleep 1000
"""

# Two new ones for each that ends, as many as are let.
FORK_BOMB = "bomb() { bomb | bomb & }; echo started; bomb 2>/dev/null; sleep 1000"

BOUNDED = Limits(memory_mb=256, max_processes=200)


@pytest.fixture(params=["in one stroke", "one by one"])
async def groups(request, support, tmp_path):
    """With and without `cgroup.kill`, which old kernels do not have."""
    parents = dict(support.parents)
    if request.param == "one by one":
        del parents["kill"]
    used = CgroupSupport(support.name, support.version, parents, support.controllers)
    async with open_resource_groups(tmp_path, used) as groups:
        yield groups


async def test_open_ends_what_left_its_session_and_parent(groups, start):
    """No process outlives the group, whatever it did to get away."""
    async with groups.open(BOUNDED) as group:
        outcast = int(await start(group, OUTCAST))
        assert alive(outcast)
    assert not alive(outcast)


async def test_open_that_is_cancelled_ends_all(groups, start):
    """Cancelling the context kills all processes as well."""
    with trio.CancelScope() as scope:
        async with groups.open(BOUNDED) as group:
            outcast = int(await start(group, OUTCAST))
            scope.cancel()
            await trio.sleep_forever()
    assert not alive(outcast)


async def test_open_ends_a_fork_bomb(groups, start):
    """A bomb is held at the limit, and ended while it goes on."""
    async with groups.open(BOUNDED) as group:
        await start(group, FORK_BOMB)
        await trio.to_thread.run_sync(wait_full, group)
        victims = group.processes()
    assert 10 < len(victims) <= 200
    assert [] == [pid for pid in victims if alive(pid)]


async def test_open_leaves_nothing_in_the_kernel(groups, start):
    """The group's folders are gone with it, and those of the daemon with the daemon."""
    async with groups.open(BOUNDED) as group:
        await start(group, OUTCAST)
        folders = group.folders
        assert all(folder.is_dir() for folder in folders)
    assert [] == [folder for folder in folders if folder.exists()]


async def test_kill_ends_all_at_once_and_empty_tells(groups, start):
    """`kill` does not wait; `empty` returns once no process is left."""
    async with groups.open(BOUNDED) as group:
        outcast = int(await start(group, OUTCAST))
        group.kill()
        await group.empty()
        assert not alive(outcast)
        assert set() == group.processes()


async def test_empty_waits_for_the_last_one(groups, start, nursery):
    """A group is not empty while one of its processes lives."""
    emptied = trio.Event()

    async def wait_empty(group):
        await group.empty()
        emptied.set()

    async with groups.open(BOUNDED) as group:
        outcast = int(await start(group, OUTCAST))
        nursery.start_soon(wait_empty, group)
        victim = min(group.processes() - {outcast})
        os.kill(victim, signal.SIGKILL)
        await stopped(victim)
        await trio.testing.wait_all_tasks_blocked()
        assert not emptied.is_set()
        group.kill()
        await emptied.wait()


async def test_kill_twice_is_no_error(groups):
    """Killing an empty group, or one that is gone, does nothing."""
    async with groups.open(BOUNDED) as group:
        group.kill()
        group.kill()
    group.kill()


def test_kill_spares_whom_it_can_not_name(tmp_path, monkeypatch):
    """A process outside of our pid namespace is shown as 0; killing 0 would kill ourselves."""
    killed = []
    monkeypatch.setattr(os, "kill", lambda pid, _: killed.append(pid))
    (tmp_path / "cgroup.procs").write_text("0\n7\n0\n")
    cgroupfs.kill({"memory": tmp_path})
    assert [7] == killed


async def test_sandboxes_side_by_side_die_apart(groups, start):
    """The end of a group leaves the processes of others alone."""
    async with groups.open(BOUNDED) as one:
        async with groups.open(BOUNDED) as other:
            mine, theirs = int(await start(one, OUTCAST)), int(await start(other, OUTCAST))
        assert (True, False) == (alive(mine), alive(theirs))


def test_kill_one_by_one_lets_nobody_start_another(tmp_path):
    """While they are killed in turn, the others can't fork faster than that."""
    (tmp_path / "pids.max").write_text("200")
    (tmp_path / "cgroup.procs").touch()
    cgroupfs.kill({"pids": tmp_path})
    assert "0" == (tmp_path / "pids.max").read_text()


def test_end_gives_up_after_its_time(tmp_path, monkeypatch):
    """Processes that can't be killed are reported, and the daemon goes on."""
    monkeypatch.setattr(cgroupfs, "populated", lambda _: True)
    assert not cgroupfs.end_groups({"memory": tmp_path}, seconds=0.01)


def wait_full(group):
    """Polls until the bomb has reached its limit, for lack of an event."""
    block_until(group.pids_hit)
