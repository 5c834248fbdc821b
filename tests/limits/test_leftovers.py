import fcntl
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
import trio

from ash.limits import delegation, open_resource_groups
from ash.limits.cgroup_versions import V2
from ash.limits.detect import CgroupSupport
from ash.limits.owned_cgroups import RECORD, OwnedCgroups, sweep_leftovers
from tests.support.processes import alive

DAEMON = [sys.executable, Path(__file__).with_name("killed_daemon.py")]


@pytest.fixture
async def daemon():
    """`async with daemon(data_dir) as (process, pid)`: a daemon that has a process in a group."""

    @asynccontextmanager
    async def run(data_dir):
        data_dir.mkdir(exist_ok=True)
        process = await trio.lowlevel.open_process([*DAEMON, data_dir], stdin=PIPE, stdout=PIPE)
        try:
            yield process, int(await process.stdout.receive_some(100))
        finally:
            await process.stdin.aclose()
            await process.stdout.aclose()
            await process.wait()

    return run


@pytest.fixture
async def left(daemon, tmp_path):
    """The id of a process that the killed daemon of `tmp_path / "left"` has left in its group."""
    async with daemon(tmp_path / "left") as (process, pid):
        process.kill()
        await process.wait()
    assert alive(pid)
    return pid


def groups(data_dir):
    return [Path(line) for line in (data_dir / RECORD).read_text().splitlines()]


async def test_open_groups_ends_what_a_killed_daemon_left(left, support, tmp_path):
    """After a crash, the next start kills what ran and removes its groups."""
    data_dir = tmp_path / "left"
    before = groups(data_dir)
    assert all(folder.is_dir() for folder in before)
    async with open_resource_groups(data_dir, support):
        assert not alive(left)
        assert [] == [folder for folder in before if folder.exists()]


async def test_open_groups_ends_what_another_data_directory_left(left, support, tmp_path):
    """The groups of a dead daemon whose data directory is gone are removed, too."""
    async with open_resource_groups(tmp_path, support):
        assert not alive(left)


async def test_open_groups_spares_a_daemon_that_lives(daemon, support, tmp_path):
    """A daemon that lives, on another data directory, keeps its groups."""
    async with daemon(tmp_path / "other") as (_, pid):
        async with open_resource_groups(tmp_path, support):
            assert alive(pid)
        assert alive(pid)
        assert all(folder.is_dir() for folder in groups(tmp_path / "other"))
    assert not alive(pid)


async def test_open_groups_that_ends_leaves_nothing(support, tmp_path):
    """The daemon's own groups go with it, and all that is still in them."""
    async with open_resource_groups(tmp_path, support):
        pass
    assert [] == [folder for folder in groups(tmp_path) if folder.exists()]


def test_sweep_looks_where_the_last_daemon_was(fake, tmp_path):
    """A daemon that was started elsewhere finds its old groups by the record."""
    tree = fake("/session-1.scope")
    elsewhere = tree.root / "session-0.scope"
    tree.make(elsewhere)
    tree.make(elsewhere / "ash-0")
    (tmp_path / RECORD).write_text(f"{elsewhere / 'ash-0'}\n")
    assert [elsewhere / "ash-0"] == sweep_leftovers(on(tree), tmp_path)
    assert elsewhere.is_dir()
    assert not (elsewhere / "ash-0").exists()


def test_sweep_removes_nothing_but_what_is_named_as_ours(fake, tmp_path):
    """A manipulated record can't make the daemon kill processes of other groups."""
    tree = fake("/")
    tree.make(tree.root / "system.slice")
    (tmp_path / RECORD).write_text(f"{tree.root / 'system.slice'}\n")
    assert [] == sweep_leftovers(on(tree), tmp_path)
    assert (tree.root / "system.slice").is_dir()


def test_sweep_removes_groups_within(fake, tmp_path):
    """All groups of the dead daemon go with its own."""
    tree = fake("/")
    tree.make(tree.root / "ash-0")
    tree.make(tree.root / "ash-0" / "1")
    assert [tree.root / "ash-0"] == sweep_leftovers(on(tree), tmp_path)
    assert not (tree.root / "ash-0").exists()


def test_owned_cgroups_enable_controllers_for_groups(fake, tmp_path):
    """Version 2 gives a group only the controllers that the one above it has enabled."""
    tree = fake("/")
    owned = OwnedCgroups(on(tree), tmp_path)
    assert "cpu memory pids" == (owned.folders["memory"] / "cgroup.subtree_control").read_text()
    assert owned.leave()


@pytest.mark.parametrize(("module", "step"), [(os, "open"), (fcntl, "flock")])
def test_owned_cgroups_are_made_again_if_they_were_swept_at_once(
    fake, tmp_path, monkeypatch, module, step
):
    """Another daemon's sweep may come between the making of a group and its lock."""
    tree = fake("/")
    support = on(tree)
    do, swept = getattr(module, step), []

    def swept_before(*arguments, **options):
        if not swept and (made := list(tree.root.glob("ash-*"))):
            swept.extend(made)
            assert made == sweep_leftovers(support, tmp_path)
        return do(*arguments, **options)

    monkeypatch.setattr(module, step, swept_before)
    owned = OwnedCgroups(support, tmp_path)
    assert swept == [owned.folders["memory"]]
    assert owned.folders["memory"].is_dir()
    assert [] == sweep_leftovers(support, tmp_path)
    assert owned.leave()


def test_owned_cgroups_of_two_data_directories_have_two_names(fake, tmp_path):
    """The names of groups differ for each data directory."""
    tree = fake("/")
    names = []
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "a"):
        folder.mkdir(exist_ok=True)
        owned = OwnedCgroups(on(tree), folder)
        names.append(owned.folders["memory"].name.rpartition("-")[0])
        owned.leave()
    assert names[0] == names[2] != names[1]


def test_owned_cgroups_that_fail_leave_nothing(fake, tmp_path):
    """Without the record nothing is left open: nobody would find the groups again."""
    tree = fake("/")
    (tmp_path / RECORD).mkdir()
    with pytest.raises(IsADirectoryError):
        OwnedCgroups(on(tree), tmp_path)
    assert [] == list(tree.root.glob("ash-*"))


def on(tree):
    """The support as it is where the daemon is in the tree."""
    controllers = delegation.divide(tree.own)
    parts = ("memory", "pids", "cpu", "kill")
    return CgroupSupport("cgroup v2", V2(), dict.fromkeys(parts, tree.own), controllers)
