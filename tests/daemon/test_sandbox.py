"""What an agent can reach, looked at through the routes; how many there may be."""

import base64
import io
import os
import zipfile
from functools import partial
from pathlib import Path

import pytest
import trio

from ash.isolation.bubblewrap import Bubblewrap
from ash.isolation.root import RootFilesystem
from ash.workspaces.workspaces import HostPaths
from tests.support.daemon import running, settings
from tests.support.processes import descendants


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    """In the daemon's own environment."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")


def told(pid, what):
    """What the host knows of a process."""
    return Path(f"/proc/{pid}/{what}").read_bytes()


async def run(client, session, command):
    response = await client.post(f"/api/sessions/{session}/exec", json={"command": command})
    return response.raise_for_status().json()["stdout"].split("\n")[:-1]


async def test_agent_sees_its_own_files_alone(us, session, data_dir):
    """Its workspace is there and nothing of the server's data, nor of the host's users."""
    assert ["/workspace", "CLAUDE.md"] == await run(us, session, "pwd; ls")
    for path in (data_dir, data_dir.parent, data_dir / "ash.db", "/etc/shadow", "/root/.ssh"):
        assert ["none"] == await run(us, session, f"test -e {path} || echo none"), path


async def test_agent_is_nobody_special(us, session):
    """A user of its own without capabilities, that sees its own processes alone."""
    assert ["1000"] == await run(us, session, "id -u")
    (capabilities,) = await run(us, session, "grep CapEff /proc/self/status")
    assert "0000000000000000" == capabilities.split()[1]
    (count,) = await run(us, session, "ls /proc | grep -c '^[0-9]'")
    assert int(count) < 10


async def test_environment_is_the_agent_s_and_its_session_s(us):
    """Values of agent and session are there, the session's last; the daemon's are not."""
    await us.deploy(env={"ONE": "agent", "TWO": "agent"})
    session = await us.create(extraEnv={"TWO": "session"})
    env = await run(us, session, "env")
    assert {"ONE=agent", "TWO=session"} <= set(env)
    assert not any("s3cret" in line for line in env)


async def test_environment_of_an_agent_stays_inside(us):
    """No command line shows it, and nothing of it is loaded on the host."""
    await us.deploy(env={"LD_PRELOAD": "/workspace/mine.so", "TOKEN": "t0ken"})
    await us.create()
    (outermost, *_) = family = descendants(os.getpid())
    assert not any(b"t0ken" in told(pid, "cmdline") for pid in family)
    assert b"LD_PRELOAD" not in told(outermost, "environ")


def test_word_for_bubblewrap_can_not_hide_another(tmp_path):
    """What comes after a NUL would be an option: any folder of the host could be bound."""
    isolation = Bubblewrap("bwrap", RootFilesystem((), (), ()), users=None, seccomp=None)
    env = {"A": "x\0--bind\0/\0/host"}
    with pytest.raises(ValueError, match="NUL"):
        isolation.wrap(["/usr/bin/true"], HostPaths(tmp_path, tmp_path, tmp_path), env)


async def test_disk_limit_holds_for_an_agent(us, agent):
    """An agent that writes more than it may loses its sandbox, and its turn says why."""
    session = await us.create(limits={"diskMb": 1})
    command = "for i in 1 2 3 4; do head -c 600K /dev/zero >$i; done; sleep 60"
    frames = await us.say(session, f"BASH: {command}")
    (error,) = [frame.value["error"] for frame in frames if frame.event == "error"]
    assert "The agent went over its disk limit of 1 MB" in error
    await us.becomes(session, "error")


async def test_disk_limit_holds_for_uploads(us, agent):
    """Files that a client uploads count as the agent's own do; too much is not written at all."""
    session = await us.create(limits={"diskMb": 1})
    content = base64.b64encode(bytes(2 * 1024 * 1024)).decode()
    body = {"files": [{"path": "large", "content": content}]}
    assert 413 == (await us.post(f"/api/sessions/{session}/files", json=body)).status_code
    assert "active" == await us.status(session)


async def test_room_for_sandboxes_is_limited(data_dir):
    """Who finds no room while all are busy is told to come again; an end makes room."""
    async with running(settings(data_dir, max_sandboxes=1)) as daemon:
        us = daemon.us
        await us.deploy()
        busy = await us.create()
        async with us.sending(busy, "SLOW: 100 60", includePartialMessages=True) as stream:
            await stream.until("text_delta")
            full = await us.post("/api/sessions", json={"agent": "helper"})
            assert (503, 503) == (full.status_code, full.json()["statusCode"])
            assert full.headers["retry-after"].isdecimal()
            assert 1 == (await us.get("/api/sessions")).json()["total"]
            await us.delete(f"/api/sessions/{busy}")
        assert await us.create()


async def test_session_starts_without_its_client(us, agent):
    """Who leaves while it starts finds it active later."""
    with trio.move_on_after(0.1):
        await us.create()
    (session,) = (await us.get("/api/sessions")).json()["sessions"]
    await us.becomes(session["id"], "active")
    assert (await us.say(session["id"], "hello"))[-1].value["reason"] == "completed"


WHEEL = {
    "hello.py": "def main():\n    print('hi')\n",
    "hello-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: hello\nVersion: 1\n",
    "hello-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "hello-1.dist-info/entry_points.txt": "[console_scripts]\nhello-ash = hello:main\n",
}


def wheel():
    """A package for pip, with a command."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for path, content in WHEEL.items():
            files.writestr(path, content)
        names = [*WHEEL, "hello-1.dist-info/RECORD"]
        files.writestr("hello-1.dist-info/RECORD", "".join(f"{name},,\n" for name in names))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("install", "folder"),
    [
        ("pip install", "/home/agent/.local/bin"),
        ("python3 -m venv .venv && pip install", "/workspace/.venv/bin"),
    ],
)
async def test_install_sh_installs_with_pip_and_later_commands_find_it(us, install, folder):
    """In the user's own packages, or in a virtual environment of the workspace."""
    await us.deploy(
        systemPrompt=None,
        files=[
            {"path": "CLAUDE.md", "content": base64.b64encode(b"be kind").decode()},
            {"path": "hello-1-py3-none-any.whl", "content": base64.b64encode(wheel()).decode()},
            {
                "path": "install.sh",
                "content": base64.b64encode(
                    f"set -e\n{install} --no-index ./hello-1-py3-none-any.whl\n".encode()
                ).decode(),
            },
        ],
    )
    session = await us.create()
    assert [f"{folder}/hello-ash", "hi"] == await run(us, session, "which hello-ash; hello-ash")


TUNNEL = Path(__file__).parents[2] / "examples" / "tunnel.py"


async def test_tunnel_of_the_examples_leads_to_a_database(data_dir, nursery):
    """For programs that know no proxy: startup.sh opens a port that leads to a listed host."""

    async def answer(stream):
        await stream.send_all(b"you said " + await stream.receive_some())
        await stream.aclose()

    listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
    there = f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
    contents = {
        "CLAUDE.md": b"be kind",
        "tunnel.py": TUNNEL.read_bytes(),
        "startup.sh": f"python3 tunnel.py 5432 {there} &\n".encode(),
    }
    files = [
        {"path": path, "content": base64.b64encode(content).decode()}
        for path, content in contents.items()
    ]
    ask = "exec 3<>/dev/tcp/127.0.0.1/5432 && printf select >&3 && cat <&3; echo"
    async with running(settings(data_dir, network=["*", there])) as daemon:
        await daemon.us.deploy(systemPrompt=None, files=files, config={"network": [there]})
        session = await daemon.us.create()
        waiting = f"until (: </dev/tcp/127.0.0.1/5432) 2>/dev/null; do sleep 0.1; done; {ask}"
        assert ["you said select"] == await run(daemon.us, session, waiting)
