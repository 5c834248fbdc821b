import pytest

from ash.limits import Limits, cgroupfs
from ash.limits.amounts import MB
from ash.limits.cgroup_versions import V1, V2, OomCounts

LIMITS = Limits(memory_mb=100, cpu_percent=150, disk_mb=1, max_processes=40)


def written(version):
    return {f"{s.controller}/{s.file}": s.value for s in version.settings(LIMITS)}


def test_v1_settings():
    """Version 1 limits memory with swap, sockets, processes, and the CPU by a quota of a period."""
    expected = {
        "memory/memory.limit_in_bytes": "104857600",
        "memory/memory.memsw.limit_in_bytes": "104857600",
        "memory/memory.kmem.tcp.limit_in_bytes": "26214400",
        "pids/pids.max": "40",
        "cpu/cpu.cfs_period_us": "100000",
        "cpu/cpu.cfs_quota_us": "150000",
    }
    assert expected == written(V1())


def test_v1_sets_memory_before_memory_with_swap():
    """The kernel refuses the second while the first is above it."""
    names = list(written(V1()))
    memory, both = "memory/memory.limit_in_bytes", "memory/memory.memsw.limit_in_bytes"
    assert names.index(memory) < names.index(both)


def test_v2_settings():
    """Version 2 limits memory and swap apart, and the CPU in one file."""
    expected = {
        "memory/memory.max": "104857600",
        "memory/memory.swap.max": "0",
        "pids/pids.max": "40",
        "cpu/cpu.max": "150000 100000",
    }
    assert expected == written(V2())


@pytest.mark.parametrize(
    ("version", "optional"),
    [
        (V1(), ["memory.memsw.limit_in_bytes", "memory.kmem.tcp.limit_in_bytes"]),
        (V2(), ["memory.swap.max"]),
    ],
)
def test_only_limits_that_a_kernel_may_lack_are_optional(version, optional):
    """Kernels without swap accounting are common; without the others there is no limit."""
    assert optional == [s.file for s in version.settings(LIMITS) if s.optional]


def test_v1_bounds_the_buffers_of_sockets_whatever_the_memory():
    """No sandbox needs more than 64 MB for connections that are all local."""
    settings = V1().settings(Limits(memory_mb=8192, cpu_percent=1, disk_mb=1, max_processes=1))
    files = {s.file: s.value for s in settings}
    assert str(64 * MB) == files["memory.kmem.tcp.limit_in_bytes"]


def test_v2_oom_is_read_from_memory_events(tmp_path):
    """Version 2 counts kills, and how often the group itself was full."""
    (tmp_path / "memory.events").write_text("low 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert OomCounts(kills=2, full=3) == V2().oom(tmp_path)


@pytest.mark.parametrize(("most", "full"), [(104857600, 2), (103000000, 2), (50000000, 0)])
def test_v1_oom_is_read_from_oom_control_and_the_highest_use(tmp_path, most, full):
    """Version 1 counts kills; they are the group's own if it had come near its limit."""
    (tmp_path / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (tmp_path / "memory.limit_in_bytes").write_text("104857600\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text(f"{most}\n")
    assert OomCounts(kills=2, full=full) == V1().oom(tmp_path)


def test_cpu_used_of_v2(tmp_path):
    """Version 2 counts in µs, with controllers or without."""
    (tmp_path / "cpu.stat").write_text("usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n")
    assert 1_234_000 == cgroupfs.cpu_used({"kill": tmp_path, "cpu": tmp_path / "other"})


def test_cpu_used_of_v1(tmp_path):
    """Version 1 counts in ns, in the folder of `cpu` if that is mounted as systemd does it."""
    (tmp_path / "cpuacct.usage").write_text("1234\n")
    assert 1234 == cgroupfs.cpu_used({"cpu": tmp_path})


@pytest.mark.parametrize("folders", [[], ["kill"], ["cpu"], ["memory"]])
def test_cpu_used_is_unknown(tmp_path, folders):
    """A group that can't be read is not taken for one that used nothing."""
    assert None is cgroupfs.cpu_used(dict.fromkeys(folders, tmp_path))


def test_cpu_used_of_a_strange_file(tmp_path):
    """What does not say it is not taken for zero."""
    (tmp_path / "cpu.stat").write_text("nr_periods 0\nusage_usec many\n")
    assert None is cgroupfs.cpu_used({"kill": tmp_path})
