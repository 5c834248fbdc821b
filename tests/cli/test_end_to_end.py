"""`ash` with the real daemon."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ash.cli import process

pytestmark = pytest.mark.process

AGENT = Path(__file__).parents[2] / "examples" / "hello-agent"
_ASH = [sys.executable, "-P", "-m", "ash.cli"]


@pytest.fixture
def running(ash, clean):
    """A detached daemon with the scripted engine; gives an `ash` that finds its server and key."""
    started = ash("start", "--detach", "--engine", "scripted", "--port", "0")
    assert (started.exit_code, started.stderr) == (0, "")
    url = Path("data/ashd.url").read_text().strip()
    yield lambda *args, **options: ash("--server", url, *args, **options)
    stopped = ash("stop")
    assert "has stopped" in stopped.stdout


def test_a_session_from_start_to_stop(running):
    """A folder is deployed and a session is created, used and ended by the command line."""
    assert running("deploy", AGENT).stdout == "deployed hello-agent, version 1\n"
    session = running("session", "create", "hello-agent").stdout.strip()

    answer = running("session", "send", session, "hi there")
    tool = running("session", "send", session, "BASH: echo $((6 * 7))")
    failed = running("session", "send", session, "FAIL: 529")

    assert (answer.exit_code, answer.stdout) == (0, "echo: hi there\n")
    assert "42" in tool.stdout
    assert tool.stderr.startswith("→ Bash ")
    assert failed.exit_code == 1
    assert "active" in running("session", "list").stdout
    assert running("session", "end", session).stdout == f"{session} ended\n"
    assert running("agent", "delete", "hello-agent").exit_code == 0


def test_upload_is_the_same_agent(running):
    """Sending the files makes the same agent as sending the path."""
    assert running("deploy", AGENT, "--upload", "--name", "sent").exit_code == 0

    agents = json.loads(running("agent", "list", "--json").stdout)

    assert [agent["name"] for agent in agents] == ["sent"]


def test_status_of_a_running_daemon(running):
    """The status shows engine and sessions of the daemon."""
    status = json.loads(running("status", "--json").stdout)

    assert (
        status["running"],
        status["engine"],
        status["activeSessions"],
    ) == (True, "scripted", 0)


def test_a_second_daemon_on_the_same_data(running):
    """A second daemon prints in one line why it is refused."""
    second = subprocess.run(
        process.command(["--engine", "scripted", "--port", "0"]),
        capture_output=True,
        text=True,
        check=False,
    )

    assert second.returncode == 1
    assert second.stderr.startswith("ashd: Another ashd uses the data directory")
    assert second.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "engine", ["scripted", pytest.param("claude-agent", marks=pytest.mark.cli)]
)
def test_demo(clean, engine):
    """The demo succeeds, says so, and leaves nothing behind."""
    done = subprocess.run(
        [*_ASH, "demo", "--engine", engine],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TMPDIR": str(clean), "HOME": str(clean)},
    )

    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "All of it worked."), done.stderr
    assert list(clean.glob("ash-demo-*")) == []


def test_ashd_as_it_is_started_by_others():
    """The command line for a background daemon runs without a warning."""
    run = subprocess.run(process.command(["--version"]), capture_output=True, text=True, check=True)

    assert (run.stdout, run.stderr) == ("ash, version 0.1.0\n", "")


def test_send_outlives_a_server_that_is_killed(running, clean):
    """The next server sends the rest of the turn, and nothing is printed twice."""
    running("deploy", AGENT)
    session = running("session", "create", "hello-agent").stdout.strip()
    url = Path("data/ashd.url").read_text().strip()
    sending = subprocess.Popen(
        [*_ASH, "--server", url, "session", "send", session, "SLOW: 100 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with sending:
        first = sending.stdout.read(len("tick0 "))
        daemon = int(Path("data/ashd.pid").read_text())
        os.kill(daemon, signal.SIGKILL)
        os.waitpid(daemon, 0)
        again = running(
            *("start", "--detach", "--engine", "scripted", "--port", url.rpartition(":")[2])
        )
        rest, told = sending.communicate()

    assert (0, 1) == (again.exit_code, sending.returncode), again.stderr
    assert "tick0 " == first
    assert "tick0" not in rest
    assert told.startswith(f"the connection to {url} broke off")
    assert "coming back to the stream\n" in told
    assert "the turn ended early: lost\n" in told
