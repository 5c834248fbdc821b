"""Memory that the kernel keeps for a sandbox's processes: it is counted, refused or bounded.

The sandbox has 128 MB. Each bomb goes for 200 MB, so little is lost should nothing hold it.
"""

from pathlib import Path

import pytest

from tests.support.own_daemon import running

LIMIT_MB = 128

BOMBS = Path(__file__).with_name("kernel_bombs.py")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory):
    with running(tmp_path_factory.mktemp("small"), f"--sandbox-memory-mb={LIMIT_MB}") as found:
        yield found


@pytest.fixture
def explode(daemon):
    """`explode(bomb)`: how many MB it got, or why it or its sandbox ended."""
    session = daemon.session()

    def run(bomb):
        program = f"cat > bombs.py <<'END'\n{BOMBS.read_text()}\nEND\npython3 bombs.py {bomb} 2>&1"
        answer = daemon.ask("POST", f"/api/sessions/{session}/exec", {"command": program})
        if answer.status_code == 502:
            return answer.json()["error"]
        done = answer.json()
        return done["stdout"] or f"exit code {done['exitCode']}"

    yield run
    daemon.call("DELETE", f"/api/sessions/{session}")


@pytest.mark.parametrize("bomb", ["tcp", "udp", "udp6"])
def test_buffers_of_sockets_are_bounded(explode, bomb):
    """What waits in sockets is at most a few dozen MB, whatever the kernel counts it as."""
    said = explode(bomb)
    if said.startswith("holds "):
        assert int(said.split()[1]) <= 64
    else:
        assert "exit code 137" in said or "ended" in said


@pytest.mark.parametrize("bomb", ["unix", "pipe", "messages", "memory_file", "inodes", "in_flight"])
def test_memory_of_the_kernel_counts_as_the_sandboxes(explode, bomb):
    """The kernel refuses more, or ends a process of the sandbox."""
    said = explode(bomb)
    refused = said.startswith("holds ") and int(said.split()[1]) < LIMIT_MB
    assert refused or "exit code 137" in said or "ended" in said, said
