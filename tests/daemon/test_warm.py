"""Sandboxes that are booted before a session asks: what they bind late, and who never sees it."""

import json
import os
import signal
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from ash.testing import StubModel
from tests.support.daemon import running, settings
from tests.support.processes import alive, descendants
from tests.support.waiting import until

# What each of two tenants brings along: none of it may be seen by the other.
OURS = {"agent": "ours-agent", "session": "ours-session", "file": "ours-file"}
THEIRS = {"agent": "theirs-agent", "session": "theirs-session", "file": "theirs-file"}


async def pool_of(client):
    return (await client.get("/health")).json()["pool"]


async def warmed(client, count=1):
    """Waits until so many are booted and nobody's."""

    async def they_are():
        return (await pool_of(client))["warm"] == count

    await until(they_are)


async def bash(client, session, command):
    """What the agent's own tool prints."""
    frames = await client.say(session, f"BASH: {command}")
    (text,) = [frame.value["result"] for frame in frames if frame.event == "turn_complete"]
    return text.removeprefix("done: ")


async def init(client, session):
    """What the engine says that it was started with."""
    frames = await client.say(session, "hi")
    messages = [frame.value for frame in frames if frame.event == "message"]
    return next(message for message in messages if message.get("subtype") == "init")


@pytest.fixture
async def daemon(data_dir):
    async with running(settings(data_dir, pre_warm_count=2)) as daemon:
        yield daemon


async def test_session_gets_a_warm_sandbox(us, agent):
    """It is booted before anyone asks, handed out, and replaced."""
    await warmed(us, 2)
    session = await us.create()
    stats = await pool_of(us)
    assert (1, 1) == (stats["preWarmHits"], stats["waiting"])
    assert "completed" == (await us.say(session, "hello"))[-1].value["reason"]
    await warmed(us, 2)


async def test_settings_of_a_session_hold_in_a_warm_sandbox(us, agent):
    """Whatever it asks for, it gets; the next session has none of it."""
    await warmed(us, 2)
    asked = await us.create(
        extraEnv={"TOKEN": "t0ken"},
        model="other-model",
        permissionMode="default",
        mcpServers={"calendar": {"command": "true"}},
        disallowedTools=["Write"],
    )
    plain = await us.create()
    said, usual = await init(us, asked), await init(us, plain)
    assert 2 == (await pool_of(us))["preWarmHits"]
    assert ("other-model", "default", ["Bash"]) == (
        said["model"],
        said["permissionMode"],
        said["tools"],
    )
    assert ["calendar"] == [server["name"] for server in said["mcp_servers"]]
    assert ("bypassPermissions", ["Bash", "Write"], []) == (
        usual["permissionMode"],
        usual["tools"],
        usual["mcp_servers"],
    )
    assert "t0ken" == await bash(us, asked, "echo $TOKEN")
    assert "none" == await bash(us, plain, "echo ${TOKEN:-none}")


async def test_config_of_a_session_outlives_its_turns(us, agent):
    """What was bound late is still so in the next turn, and after the engine was changed."""
    await warmed(us, 2)
    session = await us.create(extraEnv={"TOKEN": "t0ken"}, disallowedTools=["Write"])
    await us.say(session, "hi", maxTurns=3)
    assert ["Bash"] == (await init(us, session))["tools"]
    assert "t0ken" == await bash(us, session, "echo $TOKEN")


async def test_tenants_see_nothing_of_each_other(daemon):
    """Agents of the same name, all claimed warm: files and secrets are each tenant's own."""
    parties = [(daemon.us, OURS, THEIRS), (daemon.them, THEIRS, OURS)]
    for client, own, _ in parties:
        await client.deploy(systemPrompt=own["file"], env={"AGENT": own["agent"]})
    await warmed(daemon.us, 4)
    sessions = [
        (client, own, other, await client.create(extraEnv={"SESSION": own["session"]}))
        for client, own, other in parties
    ]
    assert 2 == (await pool_of(daemon.us))["preWarmHits"]
    look = "env; cat CLAUDE.md; echo; cat /proc/*/environ /proc/*/cmdline; ls -R / 2>/dev/null"
    for client, own, other, session in sessions:
        seen = await bash(client, session, f"({look}) | tr '\\0' '\\n' | grep -aE 'ours|theirs'")
        assert {f"AGENT={own['agent']}", f"SESSION={own['session']}", own["file"]} <= set(
            seen.split("\n")
        )
        assert not any(secret in seen for secret in other.values())


async def test_next_session_has_no_secrets_of_the_last(us, agent):
    """Each sandbox is one session's: what it left is not there for who comes next."""
    await warmed(us, 2)
    first = await us.create(extraEnv={"SECRET": "s3cret"})
    await bash(us, first, "echo s3cret | tee ~/note /tmp/note note")
    await us.delete(f"/api/sessions/{first}")
    for _ in range(3):
        session = await us.create()
        assert "none" == await bash(
            us, session, "(env; cat ~/note /tmp/note note) 2>/dev/null | grep s3 || echo none"
        )


async def test_other_limits_are_booted_for(us, agent):
    """Limits are fixed when a sandbox starts: a session with its own gets one made for it."""
    await warmed(us, 2)
    session = await us.create(limits={"maxProcesses": 40})
    assert 0 == (await pool_of(us))["preWarmHits"]
    assert "done" in await bash(us, session, "echo done")


async def test_deploy_replaces_warm_sandboxes(us, agent):
    """A session that is created after a deploy has the new version, warm or not."""
    await warmed(us, 2)
    old = set(descendants(os.getpid()))
    await us.deploy(systemPrompt="version two")
    session = await us.create()
    assert "version two" == await bash(us, session, "cat CLAUDE.md")
    await warmed(us, 2)
    await until(lambda: not any(map(alive, old)))


async def test_deleted_agent_leaves_no_sandbox(us, agent):
    """Its warm ones end with it."""
    await warmed(us, 2)
    await us.delete("/api/agents/helper")
    await warmed(us, 0)
    assert [] == [pid for pid in descendants(os.getpid()) if alive(pid)]


async def test_dead_warm_sandbox_is_never_seen(us, agent):
    """One whose processes were killed is thrown away: a session gets another."""
    await warmed(us, 2)
    for pid in descendants(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await warmed(us, 0)
    session = await us.create()
    assert 0 == (await pool_of(us))["preWarmHits"]
    assert "completed" == (await us.say(session, "hello"))[-1].value["reason"]


async def test_failing_agent_is_not_booted_again_and_again(data_dir):
    """Its stock is given up at the first failure; a create says what is wrong, each time."""
    async with running(settings(data_dir, pre_warm_count=1)) as daemon:
        us = daemon.us
        script = [{"path": "CLAUDE.md", "content": ""}]
        script.append({"path": "install.sh", "content": "ZWNobyBmYWlscyAmJiBleGl0IDM="})
        await us.deploy(systemPrompt=None, files=script)
        for _ in range(2):
            refused = await us.post("/api/sessions", json={"agent": "helper"})
            assert (502, True) == (refused.status_code, "failed (3): fails" in refused.text)

        async def none_is_warming():
            return not (await pool_of(us))["warming"]

        await until(none_is_warming)
        stats = await pool_of(us)
        assert stats["total"] == stats["cold"]


async def test_burst_of_creates_finishes(us, agent):
    """Twenty at once all get a sandbox; no more boot at a time than the settings say."""
    most = 0

    async def watch():
        nonlocal most
        while True:
            stats = await pool_of(us)
            most = max(most, stats["total"] - stats["cold"])
            assert stats["total"] == sum(
                stats[state] for state in ("cold", "warming", "warm", "waiting", "running")
            )
            await trio.sleep(0.01)

    async with trio.open_nursery() as watching:
        watching.start_soon(watch)
        async with trio.open_nursery() as creates:
            for _ in range(20):
                creates.start_soon(us.create)
        watching.cancel_scope.cancel()
    listed = (await us.get("/api/sessions?status=active")).json()
    assert (20, True) == (listed["total"], most <= 22)
    assert 20 == (await pool_of(us))["waiting"]


async def test_cold_sandboxes_are_counted_across_a_restart(data_dir):
    """What was kept is counted by the next daemon, what was warm is not."""
    wanted = settings(data_dir, pre_warm_count=1)
    async with running(wanted) as daemon:
        await daemon.us.deploy()
        for _ in range(2):
            await daemon.us.delete(f"/api/sessions/{await daemon.us.create()}")
        await daemon.us.create()
        await warmed(daemon.us)
        assert 2 == (await pool_of(daemon.us))["cold"]
    async with running(wanted, other_tenant=False) as daemon:
        stats = await pool_of(daemon.us)
        assert (3, 3) == (stats["cold"], stats["total"])


# With the real CLI


@asynccontextmanager
async def on_the_cli(data_dir, **more):
    """A daemon with one warm sandbox, and the stub model."""
    async with StubModel() as model:
        wanted = settings(
            data_dir,
            engine="claude-agent",
            anthropic_base_url=model.url,
            anthropic_api_key="sk-daemon",
            pre_warm_count=1,
            **more,
        )
        async with running(wanted) as daemon:
            await daemon.us.deploy()
            await warmed(daemon.us)
            yield daemon.us, model


def asked(model, text):
    """The request that brought the model this text."""
    return next(request for request in model.requests if request.text == text)


@pytest.mark.cli
async def test_cli_is_given_what_its_session_asks(data_dir):
    """System prompt, model, environment and key reach that session's CLI and proxy alone."""
    async with on_the_cli(data_dir) as (us, model):
        theirs = await us.create(
            systemPrompt="Speak like a pirate.",
            model="claude-other",
            extraEnv={"TOKEN": "t0ken", "ANTHROPIC_API_KEY": "sk-session"},
        )
        assert "t0ken" in await bash(us, theirs, "echo $TOKEN")
        await us.say(theirs, "ahoy")
        await warmed(us)
        plain = await us.create()
        assert "none" in await bash(us, plain, "echo ${TOKEN:-none}")
        await us.say(plain, "good day")
        assert 2 == (await pool_of(us))["preWarmHits"]
        first, second = asked(model, "ahoy"), asked(model, "good day")
        assert "claude-other" == first.body["model"] != second.body["model"]
        assert [True, False] == ["pirate" in json.dumps(r.body["system"]) for r in (first, second)]
        assert ["sk-session", "sk-daemon"] == [r.headers["x-api-key"] for r in (first, second)]


@pytest.mark.cli
async def test_warm_sandbox_whose_cli_died_is_never_seen(data_dir):
    """Nobody has to find out by a first turn that takes a second longer."""
    async with on_the_cli(data_dir) as (us, _):
        cli = next(pid for pid in descendants(os.getpid()) if command(pid) == "claude")
        os.kill(cli, signal.SIGKILL)
        await warmed(us, count=0)
        session = await us.create()
        assert 0 == (await pool_of(us))["preWarmHits"]
        assert "completed" == (await us.say(session, "hello"))[-1].value["reason"]


def command(pid):
    with open(f"/proc/{pid}/comm") as file:  # noqa: PTH123 - it is in memory
        return file.read().strip()
