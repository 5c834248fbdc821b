"""The commands `ash start`, `stop`, `status` and `health`, with a fake daemon."""

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from ash.cli import process

pytestmark = pytest.mark.process

# Like ashd: a start line, /health, an end on SIGTERM. FAKE says how it misbehaves.
FAKE_ASHD = """
import json, os, signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

how = os.environ.get("FAKE")
if how == "refuse":
    print("ashd: port 4100 is in use", file=sys.stderr)
    sys.exit(1)
if how == "mute":
    signal.pause()
signal.signal(signal.SIGTERM, signal.SIG_IGN if how == "stubborn" else lambda *_: sys.exit(0))

class Health(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "ok", "version": "9", "activeSessions": 3, "pool": {},
            "isolation": {"missing": ["bubblewrap is not installed"]} if how == "bare" else {},
            "argv": " ".join(sys.argv[1:]), "key": os.environ.get("ASH_API_KEY", "")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

server = HTTPServer(("127.0.0.1", 0), Health)
print(f"ash 9  http://127.0.0.1:{server.server_port}  data=data", flush=True)
server.serve_forever()
"""


@pytest.fixture
def daemon(clean, monkeypatch):
    """Replaces `ashd` by the fake; gives the files of the data directory, and ends the fake."""
    script = clean / "bin" / "ashd"
    script.parent.mkdir()
    script.write_text(FAKE_ASHD)
    monkeypatch.setattr(process, "command", lambda args: [sys.executable, str(script), *args])
    files = process.DaemonFiles(Path("data"))
    yield files
    if pid := files.running():
        os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def fields(result):
    """The printed `name: value` lines."""
    lines = [line for line in result.stdout.splitlines() if ": " in line]
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_start_detached(ash, daemon):
    """The command returns once the server answers, and prints URL, pid, key file and log."""
    result = ash("start", "--detach")

    told = fields(result)
    assert result.exit_code == 0
    assert told["url"].startswith("http://127.0.0.1:")
    assert int(told["pid"]) == daemon.running()
    assert (told["key"], told["log"]) == ("data/initial-api-key", "data/ashd.log")
    assert f"export ASH_SERVER_URL={told['url']}" in result.stdout
    assert daemon.log.stat().st_mode & 0o777 == 0o600


def test_start_detached_without_a_key_for_the_model(ash, daemon):
    """The warning would otherwise be in the log alone, which nobody reads before the first turn."""
    assert "warning: no key for the model endpoint is set" in ash("start", "--detach").stderr


def test_start_refuses_a_found_file_that_says_where_a_key_goes(ash, monkeypatch):
    """In one sentence; nothing is started."""
    Path("ash.toml").write_text('anthropic_base_url = "https://elsewhere.example"\n')
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-mine")
    for how in ([], ["--detach"]):
        result = ash("start", *how)
        assert (1, "") == (result.exit_code, result.stdout)
        assert result.stderr.startswith("ash: ./ash.toml would have anthropic_api_key")


def test_start_detached_flags(ash, daemon):
    """Flags are passed on; a secret goes through the environment, which `ps` does not show."""
    ash("start", "--detach", "--port", "0", "--api-key", "topsecret")

    health = json.loads(ash("health", "--server", daemon.url.read_text().strip()).stdout)
    assert (health["argv"], health["key"]) == ("--port 0", "topsecret")


def test_start_detached_twice(ash, daemon):
    """A second start with the same data directory is refused."""
    ash("start", "--detach")

    result = ash("start", "--detach")

    assert result.exit_code == 1
    assert result.stderr == (f"ash: ashd is already running from data (pid {daemon.running()})\n")


def test_start_detached_that_fails(ash, daemon, monkeypatch):
    """The daemon's last line says why it did not start, and no pid file is left."""
    monkeypatch.setenv("FAKE", "refuse")

    result = ash("start", "--detach")

    assert (result.exit_code, result.stderr) == (1, "ash: port 4100 is in use\n")
    assert not daemon.pid.exists()


def test_start_detached_that_stays_mute(ash, daemon, monkeypatch):
    """A daemon that does not answer is ended, and the error names its log."""
    monkeypatch.setenv("FAKE", "mute")
    monkeypatch.setattr(process, "_START_TIMEOUT", 0.3)

    result = ash("start", "--detach")

    assert (
        result.exit_code,
        result.stderr,
    ) == (1, "ash: ashd did not answer within 0.3 s; see data/ashd.log\n")
    assert daemon.running() is None


def test_start_detached_after_a_crash(ash, daemon):
    """A pid file of a process that is gone, or is another program, is ignored."""
    daemon.data_dir.mkdir()
    daemon.pid.write_text(str(os.getpid()))

    assert ash("start", "--detach").exit_code == 0


def test_start_detached_where_nothing_can_be_written(ash, daemon):
    """A data directory that can't be made is one line."""
    Path("data").write_text("a file")

    result = ash("start", "--detach")

    assert (result.exit_code, result.stderr) == (1, "ash: cannot write to data: File exists\n")


def test_start_with_a_wrong_value(ash, daemon):
    """An invalid setting is reported before anything is started."""
    result = ash("start", "--detach", "--port", "x")

    assert result.exit_code == 1
    assert result.stderr.startswith("ash: port (from --port) must be a whole number")
    assert not daemon.data_dir.exists()


def test_stop(ash, daemon):
    """The server ends, and its pid file is removed."""
    ash("start", "--detach")
    pid = daemon.running()

    result = ash("stop")

    assert (0, f"ashd (pid {pid}) has stopped\n") == (result.exit_code, result.stdout)
    assert not daemon.pid.exists()
    assert not daemon.url.exists()
    assert daemon.running() is None


def test_stop_when_not_running(ash, daemon):
    """Stopping without a server says so and succeeds."""
    result = ash("stop")

    assert (result.exit_code, result.stdout) == (0, "ashd is not running from data\n")


@pytest.mark.parametrize(
    "pid", [str(os.getpid()), "999999999", "nonsense", ""], ids=["ours", "nobody", "word", "empty"]
)
def test_stop_stale_pid_file(ash, daemon, pid):
    """A pid file of another program is removed, and that program is not signalled."""
    daemon.data_dir.mkdir()
    daemon.pid.write_text(pid)

    result = ash("stop")

    assert result.stdout == "ashd is not running from data; removed a stale pid file\n"
    assert not daemon.pid.exists()


def test_stop_that_takes_too_long(ash, daemon, monkeypatch):
    """A server that does not end in time is an error, and its pid file stays."""
    monkeypatch.setenv("FAKE", "stubborn")
    ash("start", "--detach")

    result = ash("stop", "--timeout", "0.1")

    assert result.exit_code == 1
    assert "has not ended within 0.1 s" in result.stderr
    assert daemon.running()


def test_status(ash, daemon):
    """A detached server is found through its data directory, whatever its port."""
    ash("start", "--detach")

    told = fields(ash("status"))

    assert (told["status"], told["version"], told["activeSessions"]) == ("ok", "9", "3")
    assert int(told["pid"]) == daemon.running()
    assert told["url"] == daemon.url.read_text().strip()


def test_protection_that_is_missing(ash, daemon, monkeypatch):
    """The start in the background and the status say what the sandboxes lack."""
    monkeypatch.setenv("FAKE", "bare")

    started, status = ash("start", "--detach"), ash("status")

    assert "warning: bubblewrap is not installed" in started.stderr.splitlines()
    assert '["bubblewrap is not installed"]' == fields(status)["missing"]


def test_status_json(ash, daemon):
    """--json prints the status as JSON."""
    ash("start", "--detach")

    report = json.loads(ash("status", "--json").stdout)

    assert (True, daemon.running(), 3) == (
        report["running"],
        report["pid"],
        report["activeSessions"],
    )


def test_status_of_a_server_that_was_named(ash, daemon, server):
    """A server that the user names is the one that is shown."""
    ash("start", "--detach")
    server.sends("GET", "/health", {"status": "ok", "version": "named"})

    assert fields(ash("status", "--server", server.url))["version"] == "named"
    assert fields(ash("--server", server.url, "status"))["version"] == "named"
    assert fields(ash("status", env={"ASH_SERVER_URL": server.url}))["version"] == "named"


def test_status_when_not_running(ash, daemon, monkeypatch):
    """A server that does not run is reported on stdout, with exit code 1."""
    result = ash("status", "--server", "http://127.0.0.1:1")

    assert result.exit_code == 1
    assert result.stdout.startswith("not running: cannot reach http://127.0.0.1:1: ")


def test_health(client_ash, server):
    """The server's answer is printed unchanged."""
    server.sends("GET", "/health", {"status": "ok", "pool": {"warm": 1}})

    assert json.loads(client_ash("health").stdout) == {"status": "ok", "pool": {"warm": 1}}
