"""Resource groups in this machine's own cgroups, of either version."""

from subprocess import PIPE

import pytest
import trio

from ash.limits import Limits, open_resource_groups
from ash.limits.detect import detect
from tests.support.cgroups import FakeTree

# What the tests use of it; nothing that is started here needs more.
SMALL = Limits(memory_mb=64, cpu_percent=50, disk_mb=16, max_processes=30)


@pytest.fixture(scope="session")
def support():
    """This machine's, which has to have all parts: without them nothing is tested."""
    found = detect()
    assert found.parents.keys() >= {"memory", "pids", "cpu"}, found.missing
    return found


@pytest.fixture
async def groups(support, tmp_path):
    async with open_resource_groups(tmp_path, support) as groups:
        yield groups


@pytest.fixture
async def group(groups):
    async with groups.open(SMALL) as group:
        yield group


@pytest.fixture
def run():
    """`await run(group, script)`: what the script printed and its exit code, both streams."""

    async def in_group(group, script):
        command = [*group.prefix, "/bin/bash", "-c", script]
        done = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True
        )
        return done.stdout.decode(), done.returncode

    return in_group


@pytest.fixture
async def start():
    """`await start(group, script)`: its first line; it runs on until its group ends."""
    started = []

    async def in_group(group, script):
        command = [*group.prefix, "/bin/bash", "-c", script]
        process = await trio.lowlevel.open_process(command, stdout=PIPE)
        started.append(process)
        line = b""
        while not line.endswith(b"\n"):
            line += await process.stdout.receive_some(1)
        return line.decode()

    yield in_group
    for process in started:
        await process.wait()
        await process.stdout.aclose()


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """`fake(path)`: a tree of version 2 with the daemon in the group `path`."""

    def tree(path="/", **options):
        return FakeTree(tmp_path, path, **options).install(monkeypatch)

    return tree
