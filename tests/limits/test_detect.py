import errno
import os
import shutil
import subprocess
from functools import partial
from uuid import uuid4

import pytest

from ash.limits import cgroupfs, delegation
from ash.limits.detect import detect


@pytest.fixture
def delegate(monkeypatch):
    """`delegate(folder)` marks the folder as systemd marks a delegated group."""
    marked = set()

    def getxattr(path, name, **_):
        if name == "trusted.delegate" and path in marked:
            return b"1"
        raise OSError(errno.ENODATA, "No data available")

    monkeypatch.setattr(os, "getxattr", getxattr)
    return marked.add


def test_detect_on_this_machine(support):
    """Memory, processes and CPU can be limited here."""
    assert support.name in {"cgroup v1", "cgroup v2"}
    assert () == support.missing


def test_detect_leaves_nothing_of_its_trial(monkeypatch):
    """The groups that are made as a trial are removed again."""
    trial = uuid4()
    monkeypatch.setattr("ash.limits.detect.uuid4", lambda: trial)
    parents = detect().parents.values()
    assert [] == [left for parent in parents for left in parent.glob(f"*{trial.hex[:8]}*")]


def test_detect_in_the_root_of_version_2(fake):
    """At the root of the tree, all controllers are enabled and no process is moved."""
    tree = fake("/")
    cgroupfs.write(tree.root / "cgroup.procs", "77")
    support = detect(tree.proc)
    assert ("cgroup v2", ()) == (support.name, support.missing)
    assert dict.fromkeys(("memory", "pids", "cpu", "kill"), tree.root) == support.parents
    assert "cpu memory pids" == (tree.root / "cgroup.subtree_control").read_text()
    assert {77} == cgroupfs.processes(tree.root)


def test_detect_in_a_delegated_unit_moves_the_daemon_to_a_leaf(fake, delegate):
    """All processes of a group that is to be divided are moved to a leaf."""
    tree = fake("/system.slice/ash.service")
    delegate(tree.own)
    for pid in ("77", "78"):
        cgroupfs.write(tree.own / "cgroup.procs", pid)
    support = detect(tree.proc)
    assert ("cgroup v2", tree.own) == (support.name, support.parents["memory"])
    assert "77\n78\n" == (tree.own / "ashd/cgroup.procs").read_text()
    assert "" == (tree.own / "cgroup.procs").read_text()


def test_detect_in_the_leaf_of_a_delegated_unit(fake, delegate):
    """A daemon that is in a leaf already stays there and divides the parent."""
    tree = fake("/system.slice/ash.service/main")
    delegate(tree.own.parent)
    cgroupfs.write(tree.own / "cgroup.procs", "77")
    support = detect(tree.proc)
    assert ("cgroup v2", tree.own.parent) == (support.name, support.parents["memory"])
    assert {77} == cgroupfs.processes(tree.own)


def test_detect_again_from_the_leaf_at_the_root_of_a_container(fake):
    """A second daemon in a container starts in the leaf that the first one has made."""
    tree = fake("/")
    (tree.root / "cgroup.type").write_text("domain")
    cgroupfs.write(tree.root / "cgroup.procs", "77")
    detect(tree.proc)
    tree.stand_in("/ashd")
    support = detect(tree.proc)
    assert tree.root == support.parents["memory"]
    assert {77} == cgroupfs.processes(tree.root / "ashd")


def test_detect_in_a_unit_that_is_not_delegated(fake):
    """A group that is not delegated is left alone, and the message says how to delegate it."""
    tree = fake("/system.slice/ash.service")
    cgroupfs.write(tree.own / "cgroup.procs", "77")
    support = detect(tree.proc)
    assert ("rlimits", {}) == (support.name, support.parents)
    assert "Delegate=yes" in support.missing[0]
    assert {77} == cgroupfs.processes(tree.own)
    assert not (tree.own / "ashd").exists()


def test_detect_without_the_cpu_controller(fake):
    """The controllers that exist are used, and the missing ones are named."""
    tree = fake("/", controllers="memory pids")
    support = detect(tree.proc)
    assert ("cgroup v2", ("CPU is not limited",)) == (support.name, support.missing)
    assert {"memory", "pids", "kill"} == support.parents.keys()


def test_detect_without_controllers_can_still_kill(fake):
    """Without controllers there are no limits, but a group can still be killed."""
    tree = fake("/", controllers="")
    support = detect(tree.proc)
    assert ("rlimits", {"kill": tree.root}) == (support.name, support.parents)
    assert 3 == len(support.missing)


def test_detect_where_nothing_may_be_made(fake, monkeypatch):
    """On a read-only tree, as in most containers, the message says so."""
    tree = fake("/")

    def refuse(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cgroupfs, "write", refuse)
    support = detect(tree.proc)
    assert "rlimits" == support.name
    assert "Read-only file system" in support.missing[0]


def test_detect_where_nobody_can_enter(fake, monkeypatch):
    """Groups that a process can't enter are not used."""
    tree = fake("/")
    make = cgroupfs.make

    def make_closed(folder):
        make(folder)
        (folder / "cgroup.procs").unlink()
        (folder / "cgroup.procs").mkdir()

    monkeypatch.setattr(cgroupfs, "make", make_closed)
    support = detect(tree.proc)
    assert "rlimits" == support.name
    assert "can't enter" in support.missing[0]


def test_detect_without_cgroups(tmp_path):
    """A machine without cgroups has rlimits, and the message says what they do not limit."""
    (tmp_path / "cgroup").write_text("")
    (tmp_path / "mountinfo").write_text("")
    support = detect(tmp_path)
    assert "rlimits" == support.name
    expected = (
        "there are no cgroups here",
        "memory is limited for each process only",
        "processes are limited for each user only, and not for root",
        "CPU is not limited",
    )
    assert expected == support.missing


def test_detect_in_version_1_without_a_controller(tmp_path, monkeypatch):
    """A controller that can't be used is named with the reason; the others are used."""
    memory, pids = tmp_path / "memory", tmp_path / "pids"
    memory.mkdir()
    (tmp_path / "cgroup").write_text("4:memory:/\n3:pids:/\n")
    (tmp_path / "mountinfo").write_text(
        f"1 0 0:1 / {memory} rw - cgroup none rw,memory\n"
        f"2 0 0:2 / {pids} rw - cgroup none rw,pids\n"
    )

    def make(folder):
        folder.mkdir()
        (folder / "memory.limit_in_bytes").touch()
        (folder / "memory.memsw.limit_in_bytes").touch()

    monkeypatch.setattr(cgroupfs, "make", make)
    monkeypatch.setattr(cgroupfs, "remove", partial(shutil.rmtree, ignore_errors=True))
    monkeypatch.setattr(cgroupfs, "processes", lambda _: set())
    support = detect(tmp_path)
    assert ("cgroup v1", {"memory": memory}) == (support.name, support.parents)
    assert f"there is no cgroup for pids in {pids}: No such file or directory" in support.missing


def test_detect_asks_systemd_for_a_group(fake, delegate, monkeypatch, tmp_path):
    """Started from a shell, the daemon asks systemd for a scope that is its own."""
    tree = fake("/user.slice/session-1.scope")
    asked = []

    def call(*words):
        asked.extend(words)
        tree.make(tree.own.parent / "ashd-1.scope")
        delegate(tree.own.parent / "ashd-1.scope")
        tree.stand_in("/user.slice/ashd-1.scope")

    monkeypatch.setattr(delegation, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(delegation, "_own", (tree.proc / "cgroup").read_text)
    monkeypatch.setattr(delegation, "_call_systemd", call)
    support = detect(tree.proc)
    assert tree.own.parent / "ashd-1.scope" == support.parents["memory"]
    assert ["PIDs", "au", "1", str(os.getpid())] == asked[5:9]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/user.slice/session-1.scope", subprocess.CalledProcessError(1, "busctl")),
        ("/user.slice/session-1.scope", FileNotFoundError("busctl")),
        ("/system.slice/my.service", AssertionError("a service is not to be asked for")),
    ],
)
def test_detect_without_a_group_from_systemd(fake, monkeypatch, tmp_path, path, answer):
    """Rlimits are left if systemd refuses, or if the daemon is a service and stays in its unit."""
    tree = fake(path)

    def call(*_):
        raise answer

    monkeypatch.setattr(delegation, "_SYSTEMD", tmp_path)
    monkeypatch.setattr(delegation, "_own", (tree.proc / "cgroup").read_text)
    monkeypatch.setattr(delegation, "_call_systemd", call)
    assert "rlimits" == detect(tree.proc).name
