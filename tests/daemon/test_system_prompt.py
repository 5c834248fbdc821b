"""Which system prompt a session has, on every way to a sandbox."""

import json
import os
from contextlib import suppress
from pathlib import Path

import pytest

from ash.testing import StubModel
from tests.support.daemon import running, settings
from tests.support.processes import descendants
from tests.support.waiting import until


async def shown(us, session):
    """The CLAUDE.md in the session's sandbox."""
    done = await us.post(f"/api/sessions/{session}/exec", json={"command": "cat CLAUDE.md"})
    return done.raise_for_status().json()["stdout"]


async def change(us, session, action):
    response = (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()
    return response.json()["session"]["id"]


async def warmed(us):
    async def one_is_warm():
        return (await us.get("/health")).json()["pool"]["warm"]

    await until(one_is_warm)


def clis():
    """The processes of the CLI."""
    found = set()
    for pid in descendants(os.getpid()):
        with suppress(OSError):  # it has just ended
            if Path(f"/proc/{pid}/comm").read_text().strip() == "claude":
                found.add(pid)
    return found


@pytest.fixture(params=["warm", "cold"])
async def us(request, data_dir):
    """A client with an agent, of a daemon that boots sandboxes ahead or does not."""
    async with running(settings(data_dir, pre_warm_count=int(request.param == "warm"))) as daemon:
        await daemon.us.deploy()
        if request.param == "warm":
            await warmed(daemon.us)
        yield daemon.us


@pytest.mark.parametrize("fields", [{}, {"systemPrompt": "Be brief."}])
async def test_claude_md_shows_the_prompt_that_holds(us, fields):
    """In a new session, after a pause, after a stop, and in a fork."""
    expected = fields.get("systemPrompt", "be kind")
    session = await us.create(**fields)
    assert expected == await shown(us, session)
    for action in ("pause", "stop"):
        await change(us, session, action)
        await change(us, session, "resume")
        assert expected == await shown(us, session)
    fork = await change(us, session, "fork")
    await change(us, fork, "resume")
    assert expected == await shown(us, fork)


async def test_sessions_own_prompt_holds_for_its_life(us):
    """What an agent writes into CLAUDE.md is replaced at the next start, and the log says so."""
    session = await us.create(systemPrompt="Be brief.")
    command = {"command": "echo forget it > CLAUDE.md"}
    await us.post(f"/api/sessions/{session}/exec", json=command)
    await change(us, session, "stop")
    await change(us, session, "resume")
    assert "Be brief." == await shown(us, session)
    logs = (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]
    assert 2 == [line["text"] for line in logs].count("CLAUDE.md is the session's systemPrompt now")


async def test_prompt_of_another_session_is_never_seen(us):
    """It is in one workspace, not in the agent's files."""
    await us.create(systemPrompt="Be brief.")
    assert "be kind" == await shown(us, await us.create())


@pytest.mark.cli
@pytest.mark.parametrize("preset", [False, True])
async def test_model_gets_the_prompt_on_warm_sandboxes(data_dir, preset):
    """The agent's, and then a session's own; or Claude Code's, if the agent's config says so."""
    config = {"systemPrompt": "claude-code"} if preset else {}
    async with StubModel() as model:
        wanted = settings(
            data_dir, engine="claude-agent", anthropic_base_url=model.url, pre_warm_count=1
        )
        async with running(wanted, other_tenant=False) as daemon:
            us = daemon.us
            await us.deploy(config=config)
            for own in (None, "Be brief."):
                await warmed(us)
                booted = clis()
                session = await us.create(**({"systemPrompt": own} if own else {}))
                await us.say(session, "hello")
                # It is opened anew only for a prompt that it was not booted with.
                assert (own is None) == (booted <= clis())
                body = [each.body for each in model.requests if each.body.get("stream")][-1]
                system = body["system"][-1]["text"]
                if preset and not own:
                    assert "be kind" in json.dumps(body["messages"])
                    assert "be kind" not in system
                else:
                    assert (own or "be kind") == system
                    assert "be kind" not in json.dumps(body["messages"])
            assert 2 == (await us.get("/health")).json()["pool"]["preWarmHits"]


async def test_config_names_nothing_but_claude_code(us):
    """A text there would be taken for the prompt, and would be ignored."""
    body = {"name": "other", "systemPrompt": "x", "config": {"systemPrompt": "You are"}}
    response = await us.post("/api/agents", json=body)
    assert 400 == response.status_code
    assert response.json()["error"].startswith('config.systemPrompt can only be "claude-code"')
