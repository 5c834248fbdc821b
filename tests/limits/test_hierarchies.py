from pathlib import Path

from ash.limits.detect import own_cgroups

HYBRID_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""

HYBRID_GROUPS = """\
9:name=systemd:/
4:memory:/user/7
3:pids:/user/7
1:cpuacct,cpu:/
0::/user
"""


def test_own_cgroups_on_a_hybrid_machine():
    """Each controller is found in its own hierarchy, and version 2 beside them."""
    own = own_cgroups(HYBRID_GROUPS, HYBRID_MOUNTS)
    base = Path("/sys/fs/cgroup")
    assert base / "memory/user/7" == own.v1["memory"]
    assert base / "cpu,cpuacct" == own.v1["cpu"]
    assert base / "unified/user" == own.v2


def test_own_cgroups_without_a_mount():
    """A hierarchy that is not mounted is not found."""
    assert "pids" not in own_cgroups(HYBRID_GROUPS, HYBRID_MOUNTS).v1


def test_own_cgroups_in_a_container():
    """Where a mount shows only the container's part of the tree, paths are relative to it."""
    mount = "9 8 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    own = own_cgroups("4:memory:/docker/ab/x\n", mount)
    assert {"memory": Path("/sys/fs/cgroup/memory/x")} == own.v1


def test_own_cgroups_outside_of_what_is_mounted():
    """A mount that shows another part of the tree is of no use."""
    mount = "9 8 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    assert {} == own_cgroups("4:memory:/docker/abc\n", mount).v1


def test_own_cgroups_under_a_name_with_a_space():
    """Names in mountinfo are escaped."""
    mount = "9 8 0:32 / /my\\040groups rw - cgroup2 none rw\n"
    assert Path("/my groups/x") == own_cgroups("0::/x\n", mount).v2


def test_own_cgroups_of_a_path_with_a_colon():
    """Only the first two colons of a line divide it."""
    mount = "9 8 0:32 / /g rw - cgroup2 none rw\n"
    assert Path("/g/a:b") == own_cgroups("0::/a:b\n", mount).v2
