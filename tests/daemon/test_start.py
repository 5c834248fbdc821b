"""How a daemon starts, and what keeps it from starting."""

import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import h11
import pytest
import trio

from ash import daemon as ash_daemon
from ash.errors import StartError
from ash.limits.cgroup_versions import V2
from ash.limits.detect import CgroupSupport
from tests.support.daemon import KEY, PATIENCE, Client, running, settings
from tests.support.processes import alive, descendants, until


async def refusal(wanted):
    """The one line that a daemon which can't start says."""
    error = None
    try:
        await ash_daemon.run(wanted)
    except* StartError as group:
        error = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
    assert error is not None, "it has started"
    assert "\n" not in error.text
    return error.text


async def test_port_in_use_is_told(data_dir):
    """The line names the address and what is wrong with it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        text = await refusal(settings(data_dir, port=port))
    assert f"Can't listen on 127.0.0.1:{port}: Address already in use" == text


async def test_data_directory_in_use_is_told(daemon, data_dir):
    """Two daemons on one directory would write over each other."""
    assert f"Another ashd uses the data directory {data_dir}" == await refusal(settings(data_dir))


async def test_data_directory_is_free_again_afterwards(data_dir):
    """The lock goes with the daemon."""
    for _ in range(2):
        async with running(settings(data_dir)) as daemon:
            assert 200 == (await daemon.us.get("/health")).status_code


async def test_unusable_data_directory_is_told(tmp_path):
    """The line names the directory and what is wrong with it."""
    (tmp_path / "file").touch()
    data_dir = tmp_path / "file" / "data"
    text = await refusal(settings(data_dir))
    assert f"Can't write to the data directory {data_dir}: Not a directory" == text


async def test_missing_cli_is_told(data_dir, tmp_path):
    """The line names what can't be run, and what to do."""
    missing = tmp_path / "claude"
    wanted = settings(data_dir, engine="claude-agent", claude_code_executable=missing)
    text = await refusal(wanted)
    assert text.startswith(f"The Claude CLI is missing: {missing} can't be run.")
    assert "CLAUDE_CODE_EXECUTABLE" in text


async def test_isolation_that_can_not_be_had_is_told(data_dir, tmp_path, monkeypatch):
    """Unless somebody asks for less, the daemon does not start, and says what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    text = await refusal(settings(data_dir))
    assert text.startswith("isolation is strict, but bubblewrap is not installed (apt-get")


@pytest.fixture
def no_cgroups(monkeypatch):
    lacking = CgroupSupport("rlimits", V2, {}, missing=("CPU is not limited",))
    monkeypatch.setattr("ash.limits.resource_groups.detect", lambda **_: lacking)


@pytest.mark.usefixtures("no_cgroups")
async def test_limits_that_can_not_be_had_beyond_loopback(data_dir):
    """A daemon that others can reach does not start without all limits."""
    text = await refusal(settings(data_dir, host="0.0.0.0"))
    assert text.startswith("limits are strict, but CPU is not limited. Run ashd as root")


@pytest.mark.usefixtures("no_cgroups")
async def test_limits_that_can_not_be_had_on_loopback(data_dir, capsys):
    """The daemon starts, and names what is missing in its first line and in its health."""
    async with running(settings(data_dir)) as daemon:
        assert "(CPU is not limited)" in capsys.readouterr().out.splitlines()[0]
        health = (await daemon.us.get("/health")).json()
        assert ["CPU is not limited"] == health["isolation"]["missing"]


async def test_start_line_tells_where_and_how(data_dir, capsys):
    """One line for a human: address, data, engine, isolation."""
    async with running(settings(data_dir)) as daemon:
        line = capsys.readouterr().out.splitlines()[0]
        for part in (daemon.url, f"data={data_dir}", "engine=scripted", "isolation=bubblewrap"):
            assert part in line


async def test_first_start_without_a_key_makes_one(data_dir):
    """It is in a file that its owner alone can read, and it opens the server from then on."""
    keys = []
    for _ in range(2):
        async with running(settings(data_dir, api_key=None), other_tenant=False) as daemon:
            file = trio.Path(data_dir / "initial-api-key")
            assert 0o600 == stat.S_IMODE((await file.stat()).st_mode)
            keys.append((await file.read_text()).strip())
            async with Client(daemon.url, keys[-1]) as us:
                assert 200 == (await us.get("/api/agents")).status_code
            assert 401 == (await daemon.us.get("/api/agents")).status_code
    assert keys[0] == keys[1]


async def test_data_directory_is_private(daemon, data_dir):
    """Nobody else on the machine can read what is in it."""
    assert 0o700 == stat.S_IMODE((await trio.Path(data_dir).stat()).st_mode)


class Child:
    """A daemon in a process of its own."""

    def __init__(self, process):
        self.process = process
        words = process.stdout.readline().split()
        self.url = words[2]

    def kill(self):
        family = [self.process.pid, *descendants(self.process.pid)]
        self.process.kill()
        self.process.wait()
        return family


@pytest.fixture
async def child(data_dir):
    command = [sys.executable, "-m", "ash.cli.ashd", "--port", "0", "--engine", "scripted"]
    env = {"PATH": os.environ["PATH"], "ASH_API_KEY": KEY, "PYTHONPATH": str(Path.cwd())}
    process = await trio.to_thread.run_sync(
        lambda: subprocess.Popen(
            [*command, "--data-dir", str(data_dir), "--pre-warm-count", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            text=True,
        )
    )
    with process:
        yield await trio.to_thread.run_sync(Child, process)
        process.send_signal(signal.SIGTERM)


async def test_sessions_survive_a_killed_daemon(child, data_dir):
    """After SIGKILL nothing runs on; sessions are paused, turns ended, the history is there."""
    async with Client(child.url, KEY) as us:
        await us.deploy()
        idle, busy = await us.create(), await us.create()
        await us.say(idle, "hello")
        async with us.sending(busy, "SLOW: 100 60", includePartialMessages=True) as stream:
            last = await stream.until("text_delta")
            family = await trio.to_thread.run_sync(child.kill)
            with pytest.raises(h11.RemoteProtocolError):
                await stream.rest()
    assert len(family) > 2
    await until(lambda: not any(map(alive, family)))
    async with running(settings(data_dir)) as daemon:
        for session in (idle, busy):
            assert "paused" == await daemon.us.status(session)
        texts = [row["content"] for row in await daemon.us.history(idle)]
        assert '{"type":"user","content":"hello"}' == texts[0]
        assert any("echo: hello" in text for text in texts)
        rows = [(row["type"], row["data"]) for row in await daemon.us.history(busy, "events")]
        assert ("error", '{"error":"The daemon was restarted during the turn"}') in rows
        for session in (idle, busy):
            resumed = await daemon.us.post(f"/api/sessions/{session}/resume")
            assert (200, "active") == (resumed.status_code, resumed.json()["session"]["status"])
        assert last.id < (await daemon.us.say(busy, "again"))[0].id
        recalled = (await daemon.us.say(idle, "RECALL"))[-2].value["result"]
        assert '["hello","RECALL"]' == recalled


async def test_connections_are_kept_for_as_long_as_is_set(data_dir):
    """A connection without a request ends after `keep_alive_timeout`."""
    async with running(settings(data_dir, keep_alive_timeout=0.1)) as daemon:
        host, port = daemon.us.base_url.host, daemon.us.base_url.port
        async with await trio.open_tcp_stream(host, port) as connection:
            await connection.send_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            with trio.fail_after(PATIENCE):
                answer = b"".join([data async for data in connection])
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close" not in answer.lower()
