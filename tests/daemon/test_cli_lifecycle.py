"""What a session on the real CLI still has after it was paused, stopped, killed or restarted."""

import json
import os
import signal
from contextlib import asynccontextmanager

import pytest

from ash.testing import StubModel
from tests.support.conversations import kill_the_cli, named
from tests.support.daemon import running, settings

pytestmark = pytest.mark.cli

EVERYTHING = {
    "model": "claude-other",
    "systemPrompt": "Speak like a pirate.",
    "mcpServers": {"tools": {"command": "true"}},
    "permissionMode": "default",
    "extraEnv": {"TOKEN": "t0ken", "ANTHROPIC_API_KEY": "sk-session"},
    "disallowedTools": ["WebFetch"],
}


@asynccontextmanager
async def daemon(data_dir, model):
    wanted = settings(
        data_dir,
        engine="claude-agent",
        anthropic_base_url=model.url,
        anthropic_api_key="sk-daemon",
    )
    async with running(wanted, other_tenant=False) as running_daemon:
        yield running_daemon.us


async def begin(us):
    """A session that was asked for all there is, and has said and written something."""
    await us.deploy()
    session = await us.create(**EVERYTHING)
    await us.say(session, "the word is heron")
    body = {"command": "echo kept > note.txt"}
    (await us.post(f"/api/sessions/{session}/exec", json=body)).raise_for_status()
    return session


async def change(us, session, action):
    (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()


async def goes_on(us, model, session):
    """Files, conversation and settings are there, in the CLI and in what reaches the model."""
    frames = await us.say(session, "ahoy", options="?resume=auto")
    assert "completed" == frames[-1].value["reason"]
    init = next(f.value for f in frames if f.event == "message" and f.value["type"] == "system")
    assert ("claude-other", "default") == (init["model"], init["permissionMode"])
    assert "tools" in [server["name"] for server in init["mcp_servers"]]
    assert "WebFetch" not in init["tools"]
    request = [request for request in model.requests if request.text == "ahoy"][-1]
    assert ("claude-other", "sk-session") == (request.body["model"], request.headers["x-api-key"])
    assert "Speak like a pirate." == request.body["system"][-1]["text"]
    assert "be kind" not in json.dumps(request.body)
    assert "the word is heron" in request.texts
    body = {"command": "cat note.txt; echo $TOKEN; cat CLAUDE.md"}
    done = (await us.post(f"/api/sessions/{session}/exec", json=body)).json()
    assert "kept\nt0ken\nSpeak like a pirate." == done["stdout"]


async def pause(us, session):
    await change(us, session, "pause")


async def stop(us, session):
    await change(us, session, "stop")
    assert [] == named("claude")


async def kill_the_sandbox(us, session):
    for pid in named("bwrap"):
        os.kill(pid, signal.SIGKILL)
    await us.becomes(session, "error")


@pytest.mark.parametrize("interruption", [pause, stop, kill_the_cli, kill_the_sandbox])
async def test_session_goes_on_after(data_dir, interruption):
    """With its files, its conversation and its settings, twice."""
    async with StubModel() as model, daemon(data_dir, model) as us:
        session = await begin(us)
        for _ in range(2):
            await interruption(us, session)
            await goes_on(us, model, session)


async def test_session_goes_on_after_a_restart(data_dir):
    """The daemon that comes next has never seen its processes."""
    async with StubModel() as model:
        async with daemon(data_dir, model) as us:
            session = await begin(us)
        async with daemon(data_dir, model) as us:
            assert "paused" == await us.status(session)
            await goes_on(us, model, session)


async def test_fork_goes_on_as_its_parent_would(data_dir):
    """It has the same files, conversation and settings."""
    async with StubModel() as model, daemon(data_dir, model) as us:
        session = await begin(us)
        made = (await us.post(f"/api/sessions/{session}/fork")).raise_for_status().json()
        await goes_on(us, model, made["session"]["id"])
