import math
import resource
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio

from ash.limits import Limits
from ash.limits.amounts import MB
from ash.limits.cgroup_versions import V2
from ash.limits.resource_group import ResourceGroup
from tests.limits.conftest import SMALL
from tests.support.processes import until

# More than SMALL allows, and no more than any machine has.
EAT = "/usr/bin/head -c 200M /dev/zero | /usr/bin/tail -c 200M >/dev/null; exit ${PIPESTATUS[1]}"


async def test_open_sets_the_limits(group, support):
    """Each setting is in the kernel before anything runs."""
    for setting in support.version.settings(SMALL):
        file = group._folders[setting.controller] / setting.file
        if file.exists() or not setting.optional:
            assert setting.value == file.read_text().strip()


async def test_enter_puts_the_process_itself_in_all_groups(group, run):
    """The command is in the group from its first instruction, and so are its children."""
    groups, _ = await run(group, "cat /proc/self/cgroup; exit 0")
    for folder in group.folders:
        assert f"/{folder.parent.name}/{folder.name}\n" in groups


async def test_enter_passes_the_command_on_as_it_is(group):
    """Arguments with spaces, quotes and none at all come through, and so does the exit code."""
    command = [*group.prefix, "/usr/bin/printf", "<%s>", "a b", "", "'$x'", "--", "*"]
    done = await trio.run_process(command, capture_stdout=True)
    assert b"<a b><><'$x'><--><*>" == done.stdout


async def test_prefix_without_the_group_runs_nothing(groups):
    """Nothing runs outside: a process that can't get in ends with 125."""
    async with groups.open(SMALL) as group:
        pass
    done = await trio.run_process(
        [*group.prefix, "/bin/echo", "free"], check=False, capture_stdout=True, capture_stderr=True
    )
    assert (125, b"") == (done.returncode, done.stdout)


async def test_memory_over_the_limit_is_named(group, run):
    """The process that took too much is killed, and the limit is named, once."""
    _, code = await run(group, EAT)
    assert 128 + 9 == code
    assert "The agent went over its memory limit of 64 MB" == group.take_limit_report()
    assert None is group.take_limit_report()


async def test_memory_over_the_limit_ends_the_tool_alone(group, run):
    """The kernel ends the one process; its shell goes on and can say so."""
    said, code = await run(group, f"({EAT}); echo went on after $?")
    assert ("went on after 137\n", 0) == (said, code)


async def test_memory_of_files_in_ram_counts(group, run):
    """A tmpfs can't be used to get around the limit."""
    with TemporaryDirectory(dir="/dev/shm") as folder:
        await run(group, f"for i in {{1..8}}; do head -c 15M /dev/zero >{folder}/$i; done")
    assert "its memory limit" in group.take_limit_report()


async def test_too_many_processes_are_named(group, run):
    """A process too many is not started, and the limit is named."""
    # Unlike bash, sh does not try again for half a minute.
    _, code = await run(group, "exec sh -c 'for i in $(seq 40); do sleep 100 >&- 2>&- & done'")
    assert 2 == code
    assert group.pids_hit() > 0
    assert "The agent went over its limit of 30 processes and threads" == group.take_limit_report()
    assert None is group.take_limit_report()


async def test_cpu_used_grows_with_work_alone(group, start, run):
    """The kernel counts what processes of a group have used, also after they have ended."""
    assert "ready\n" == await start(group, "echo ready; exec sleep 1000")
    await until(lambda: asleep(group))
    before = group.cpu_used()
    assert before > 0
    assert before == group.cpu_used()
    await run(group, "for i in {1..1000}; do :; done")
    assert before < group.cpu_used()


def asleep(group):
    """Whether its one process is in the call that it is going to wait in."""
    (pid,) = group.processes()
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


async def test_nothing_hit_is_nothing_said(group, run):
    """An agent that keeps to its limits hears nothing of them."""
    assert ("1\n", 0) == await run(group, "echo 1")
    assert (0, None) == (group.pids_hit(), group.take_limit_report())


async def test_a_note_is_described_with_the_rest(group):
    """What others have measured is told with what the kernel has counted."""
    group.note("The disk is full")
    assert "The disk is full" == group.take_limit_report()
    assert None is group.take_limit_report()


def test_describe_tells_the_machines_want_from_the_agents(tmp_path):
    """A kill while the group was not full is not the agent's doing."""
    events = tmp_path / "memory.events"
    group = ResourceGroup(V2(), {"memory": tmp_path}, SMALL)
    events.write_text("oom 0\noom_kill 1\n")
    assert "the machine ran out of memory" in group.take_limit_report()
    events.write_text("oom 1\noom_kill 2\n")
    assert "its memory limit of 64 MB" in group.take_limit_report()


async def test_a_file_can_not_outgrow_the_disk_limit(group, run, tmp_path):
    """One file can't take more than the disk limit, however fast it is written."""
    target = tmp_path / "large"
    _, code = await run(group, f"head -c 100M /dev/zero > {target}")
    assert 128 + 25 == code
    assert 16 * MB == target.stat().st_size


async def test_open_files_and_core_dumps_are_limited(group, run):
    """Open files have a limit, and nobody's memory is written to disk."""
    said, _ = await run(group, "ulimit -Hn; ulimit -Hc")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert [min(4096, math.inf if hard == resource.RLIM_INFINITY else hard), 0] == [
        int(line) for line in said.split()
    ]


async def test_a_sandbox_dies_before_the_daemon(group, run):
    """When the machine is out of memory, a sandbox is a better victim than the daemon."""
    own = await trio.Path("/proc/self/oom_score_adj").read_text()
    expected = min(1000, int(own) + 200)
    assert (f"{expected}\n", 0) == await run(group, "cat /proc/self/oom_score_adj")


async def test_without_cgroups_there_are_rlimits(run):
    """Without a cgroup, a process is limited by itself."""
    group = ResourceGroup(V2(), {}, SMALL)
    said, _ = await run(group, "ulimit -Hd; ulimit -Hu")
    assert "65536\n30\n" == said
    _, code = await run(group, EAT)
    assert 0 != code
    assert (0, None) == (group.pids_hit(), group.take_limit_report())
    assert None is group.cpu_used()


async def test_open_that_fails_leaves_nothing(groups, monkeypatch, support):
    """A group whose limits can't be set is removed, and the error is raised."""
    with pytest.raises(OSError, match="Invalid argument"):
        async with groups.open(Limits(memory_mb=-5)):
            pass
    assert [] == [left for folder in groups._folders.values() for left in folder.glob("*/")]
