"""Sessions whose agent has broken its memory or its home: they go on, and say what was broken."""

import base64
import json
from contextlib import asynccontextmanager

import pytest

from ash.testing import StubModel
from tests.support.conversations import ENGINES, change, daemon, forked, kill_the_cli, knows, says

TRANSCRIPT = "~/.claude/projects/*/*.jsonl"

# What an agent does, and what the resume says of the conversation's transcript.
TRANSCRIPTS = {
    f"rm {TRANSCRIPT}": "is gone",
    f"truncate -s 0 {TRANSCRIPT}": "is empty",
    f"for f in {TRANSCRIPT}; do head -c 5000 /dev/urandom > $f; done": "holds no message",
    f"for f in {TRANSCRIPT}; do rm $f; mkdir $f; done": "is not a file",
}

# What an agent does to its home, and what the resume says first.
HOMES = {
    "echo '{' > ~/.claude.json": "/home/agent/.claude.json is no valid JSON",
    "chmod 0 ~": "The session's home was closed",
    "chmod 0 /workspace": "The session's workspace was closed",
    "chmod 0 ~/.claude": "/home/agent/.claude was closed",
    "rm -r ~/.claude; ln -s /nowhere ~/.claude": "/home/agent/.claude led nowhere",
}


@pytest.fixture(params=ENGINES)
async def us(request, data_dir):
    async with serving(data_dir, request.param) as us:
        yield us


@pytest.fixture
async def scripted(data_dir):
    async with serving(data_dir, "scripted") as us:
        yield us


@pytest.fixture
async def cli(data_dir):
    async with serving(data_dir, "claude-agent") as us:
        yield us


@asynccontextmanager
async def serving(data_dir, engine):
    async with StubModel() as model, daemon(data_dir, engine, model) as us:
        await us.deploy()
        yield us


async def breaks(us, session, command):
    """The agent does that, and its sandbox ends."""
    path = f"/api/sessions/{session}/exec"
    done = (await us.post(path, json={"command": command})).raise_for_status().json()
    assert 0 == done["exitCode"], done
    await change(us, session, "stop")


async def resumed(us, session):
    response = await us.post(f"/api/sessions/{session}/resume")
    assert 200 == response.status_code, response.text
    return response.json()["session"]


async def told(us, session):
    """What the next turn's stream says was mended, and what the agent knows then."""
    frames = await us.say(session, "hello")
    assert "completed" == frames[-1].value["reason"]
    return [frame.value for frame in frames if frame.event == "recovered"]


async def last_lifecycle(us, session):
    events = (await us.get(f"/api/sessions/{session}/events?type=lifecycle")).json()["events"]
    return json.loads(events[-1]["data"])


async def logged(us, session):
    return [line["text"] for line in (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]]


async def test_broken_transcript_is_restored_and_said(us):
    """In the answer, the timeline, the log and the next turn's stream; the agent knows it all."""
    session = await us.create()
    await says(us, session, "one")
    await change(us, session, "stop")
    assert set() == {"memory", "warnings"} & (await resumed(us, session)).keys()
    said = ["one"]
    for command, fault in TRANSCRIPTS.items():
        await breaks(us, session, command)
        found = await resumed(us, session)
        (warning,) = found["warnings"]
        assert ("partial", True) == (found["memory"], fault in warning), (command, warning)
        event = await last_lifecycle(us, session)
        assert {"memory": "partial", "warnings": [warning]}.items() <= event.items()
        assert warning in await logged(us, session)
        assert [{"memory": "partial", "warning": warning}] == await told(us, session)
        said.append("hello")
        assert said == await knows(us, session)


async def test_fork_of_a_broken_session_is_restored(scripted):
    """From its copies of the messages, up to the one that was asked for."""
    session = await scripted.create()
    await says(scripted, session, "one")
    before = len(await scripted.history(session))
    await says(scripted, session, "two")
    await breaks(scripted, session, f"rm {TRANSCRIPT}")
    forks = await forked(scripted, session), await forked(scripted, session, afterSequence=before)
    assert ["partial"] * 2 == [(await resumed(scripted, fork))["memory"] for fork in forks]
    assert [1, 1] == [len(await told(scripted, fork)) for fork in forks]
    assert [["one", "two", "hello"], ["one", "hello"]] == [
        await knows(scripted, fork) for fork in forks
    ]


async def test_what_was_cleared_is_not_restored(scripted):
    """Nor is it missed, if nothing was said since."""
    session = await scripted.create()
    await says(scripted, session, "one", "/clear")
    await breaks(scripted, session, f"rm -f {TRANSCRIPT}")
    assert set() == {"memory"} & (await resumed(scripted, session)).keys()
    await says(scripted, session, "two")
    await breaks(scripted, session, f"rm {TRANSCRIPT}")
    assert "partial" == (await resumed(scripted, session))["memory"]
    await says(scripted, session, "three")
    assert ["two", "three"] == await knows(scripted, session)


@pytest.mark.cli
async def test_broken_home_is_mended_and_said(cli):
    """What can't be used is renamed or opened again, and the agent still knows all."""
    session = await cli.create()
    await says(cli, session, "one")
    for command, warning in HOMES.items():
        await breaks(cli, session, command)
        found = await resumed(cli, session)
        assert found["warnings"][0].startswith(warning), (command, found)
        assert "one" == (await says_and_knows(cli, session))[0]


async def says_and_knows(us, session):
    await says(us, session, "hello")
    return await knows(us, session)


@pytest.mark.cli
async def test_home_that_breaks_while_the_sandbox_lives(cli):
    """The turn that starts the CLI anew says so in its stream and in the timeline."""
    session = await cli.create()
    await says(cli, session, "one")
    command = f"rm {TRANSCRIPT}; echo 5 > ~/.claude/settings.json"
    await cli.post(f"/api/sessions/{session}/exec", json={"command": command})
    await kill_the_cli(cli, session)
    config, transcript = await told(cli, session)
    assert "no JSON object" in config["warning"]
    assert ("partial", True) == (transcript["memory"], "is gone" in transcript["warning"])
    assert {"action": "recovered", "memory": "partial"}.items() <= (
        await last_lifecycle(cli, session)
    ).items()
    assert ["one", "hello"] == await knows(cli, session)


@pytest.mark.cli
async def test_transcript_that_the_cli_does_not_take(cli):
    """It ends at once, though each line is valid JSON; the conversation is restored."""
    session = await cli.create()
    await says(cli, session, "one")
    wrong = """sed -i 's/"timestamp":"[^"]*"/"timestamp":{}/'"""
    await breaks(cli, session, f"{wrong} {TRANSCRIPT}")
    assert "is not accepted by the CLI" in (await resumed(cli, session))["warnings"][0]
    assert "one" == (await says_and_knows(cli, session))[0]


@pytest.mark.cli
async def test_transcript_that_is_removed_in_a_turn(cli):
    """The CLI writes on into a new file, which lacks the beginning."""
    session = await cli.create()
    await says(cli, session, "one", f"BASH: rm {TRANSCRIPT}")
    await change(cli, session, "stop")
    assert "has lost its beginning" in (await resumed(cli, session))["warnings"][0]
    assert "one" == (await says_and_knows(cli, session))[0]


GUARDED = {
    "CLAUDE.md": "You are terse.",
    ".claude/settings.json": '{"permissions": {"deny": ["Bash(touch:*)"]}}',
}


@pytest.mark.cli
async def test_settings_that_the_agent_breaks_are_put_back_and_said(cli):
    """The folder's deny rule holds after a resume and in a fork; both answers have a warning."""
    encoded = [(path, base64.b64encode(text.encode()).decode()) for path, text in GUARDED.items()]
    files = [{"path": path, "content": content} for path, content in encoded]
    await cli.deploy(name="guarded", systemPrompt=None, files=files)
    session = await cli.create(agent="guarded")
    await says(cli, session, "BASH: echo '{bad' > .claude/settings.json")
    fork = await forked(cli, session)
    await change(cli, session, "stop")
    for each in (session, fork):
        (warning,) = (await resumed(cli, each))["warnings"]
        assert warning.startswith(".claude/settings.json:1:2: ")
        assert "It was renamed to settings.json.broken; the deployed one is in its place" in warning
        assert warning in await logged(cli, each)
        assert [warning] == (await last_lifecycle(cli, each))["warnings"]
        frames = await cli.say(each, "BASH: touch made")
        assert [True] == [f.value["is_error"] for f in frames if f.event == "tool_result"]
        assert 404 == (await cli.get(f"/api/sessions/{each}/files/made")).status_code


async def test_settings_that_cannot_be_put_back_refuse_the_start(scripted):
    """In words, until a client writes good ones; the files of a stopped session can be written."""
    session = await scripted.create()
    names = "for n in '' $(seq 19); do mkdir -p .claude/settings.json.broken$n; done"
    await breaks(scripted, session, f"{names}; echo '{{' > .claude/settings.json")
    response = await scripted.post(f"/api/sessions/{session}/resume")
    assert 502 == response.status_code
    assert "replace or delete it, and resume the session" in response.json()["error"]
    good = {"path": ".claude/settings.json", "content": base64.b64encode(b"{}").decode()}
    files = await scripted.post(f"/api/sessions/{session}/files", json={"files": [good]})
    assert 200 == files.status_code, files.text
    assert "warnings" not in await resumed(scripted, session)


async def test_servers_that_a_client_breaks_are_told_in_the_turn_that_resumes(scripted):
    """As what the agent breaks is."""
    session = await scripted.create()
    bad = {"path": ".mcp.json", "content": base64.b64encode(b"{").decode()}
    (
        await scripted.post(f"/api/sessions/{session}/files", json={"files": [bad]})
    ).raise_for_status()
    await change(scripted, session, "stop")
    frames = await scripted.say(session, "hello", options="?resume=auto")
    (found,) = [frame.value for frame in frames if frame.event == "recovered"]
    assert "renamed to .mcp.json.broken; the agent's folder has none" in found["warning"]
