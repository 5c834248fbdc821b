"""Agent folders as people have them, on the real CLI: by path and by upload, through their life."""

import json
import sys
from functools import partial

import pytest
import trio

from ash.testing import Request, StubModel, Use
from tests.support.daemon import KEY, running, settings
from tests.support.real_folders import abilities, claude_in, copied, init_of
from tests.support.waiting import until

pytestmark = pytest.mark.cli

NAMES = ("support-bot", "coding-agent", "research-agent")
WAYS = {"by path": [], "by upload": ["--upload"]}


def rule(request: Request):
    """Calls the tool server's tool when asked for an order; the script answers all else."""
    if request.text.startswith("ORDER: ") and not request.tool_result:
        return Use("mcp__orders__order_status", {"number": request.text.removeprefix("ORDER: ")})
    return None


@pytest.fixture
async def model():
    async with StubModel(answer=rule, expect_key="sk-right") as model:
        yield model


def wanted(data_dir, model, key="sk-right"):
    """The settings of a daemon with that key for the model."""
    return settings(
        data_dir, engine="claude-agent", anthropic_base_url=model.url, anthropic_api_key=key
    )


async def deploy(daemon, folder, way):
    """What `ash deploy` says of it: the warnings."""
    where = ["--server", daemon.url, "--api-key", KEY]
    command = [sys.executable, "-P", "-m", "ash.cli", *where, "deploy", str(folder), *WAYS[way]]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    return done.stderr.decode()


async def shell(us, session, command):
    asked = await us.post(f"/api/sessions/{session}/exec", json={"command": command})
    return asked.raise_for_status().json()["stdout"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
async def test_agent_can_what_claude_can_in_its_folder(data_dir, model, tmp_path, name, way):
    """It has the same tools, servers, skills, subagents and commands as `claude` there."""
    folder = copied(name, tmp_path)
    bare = await trio.to_thread.run_sync(partial(claude_in, folder, tmp_path / "home", model.url))
    async with running(wanted(data_dir, model), other_tenant=False) as daemon:
        await deploy(daemon, folder, way)
        session = await daemon.us.create(name)
        frames = await daemon.us.say(session, "hello")
    ours = init_of([frame.value for frame in frames if frame.event == "message"])
    assert abilities(bare) == abilities(ours)


def said(frames):
    """The result of the turn, and what its tools gave back."""
    results = [frame.value["content"] for frame in frames if frame.event == "tool_result"]
    return frames[-2].value.get("result"), str(results)


async def support_bot(us, session):
    """The tool server runs with what `.env` says; what the settings deny is denied."""
    answer, _ = said(await us.say(session, "ORDER: 1002"))
    assert "acme: on its way" in answer
    answer, _ = said(await us.say(session, "BASH: curl http://example.com"))
    assert answer.startswith("failed: ")


async def coding_agent(us, session):
    """The hook guards, the skill's script runs, and a commit has an author."""
    _, results = said(await us.say(session, "BASH: git push --force"))
    assert "No push --force here" in results
    _, results = said(await us.say(session, "BASH: .claude/skills/release/scripts/version.sh"))
    assert "1.4.2" in results
    await us.say(session, "BASH: echo 1.4.3 > src/VERSION && git commit -qam Release")
    assert "coding-agent Release\nAda Begin\n" == await shell(
        us, session, "git log --format='%an %s'"
    )


async def research_agent(us, session):
    """Links within the folder are links; the virtual environment is left out."""
    command = "cat .claude/skills/cite/SKILL.md sources/latest.md; readlink .claude/skills; ls -A"
    found = await shell(us, session, command)
    assert "Herons fish at dusk.\n../.agents/skills\n" in found
    assert ".venv" not in found


OWN = {
    "support-bot": ("by upload", support_bot, "30 days, also when they were used"),
    "coding-agent": ("by path", coding_agent, "write a test for each change"),
    "research-agent": ("by upload", research_agent, "Put the most certain facts first."),
}


async def remembers(us, session, *words):
    """What it was told before, in this order, and nothing else."""
    answer, _ = said(await us.say(session, "RECALL", options="?resume=auto"))
    told = [text for text in json.loads(answer) if text.startswith("the ")]
    assert list(words) == told


async def acts_by_itself(us, session):
    """What it does when its command in the background has ended is a turn of its own."""
    await us.say(session, "BACKGROUND: sleep 0.2")

    async def it_has():
        history = await us.history(session)
        return any("finished: sleep 0.2" in message["content"] for message in history)

    await until(it_has)


@pytest.mark.parametrize("name", NAMES)
async def test_agent_through_its_life(data_dir, model, tmp_path, name):
    """A wrong key and the right one, /clear, a background task, stop, resume, fork, restart.

    It does what it is for, and knows what it was told since the /clear.
    """
    folder = copied(name, tmp_path)
    way, does_its_own, prompt = OWN[name]
    async with running(wanted(data_dir, model, "sk-wrong"), other_tenant=False) as daemon:
        await deploy(daemon, folder, way)
        session = await daemon.us.create(name)
        frames = await daemon.us.say(session, "hello")
        assert ["error", "done"] == [frame.event for frame in frames[-2:]]
        assert "refused the key" in frames[-2].value["error"]
    async with running(wanted(data_dir, model), other_tenant=False) as daemon:
        us = daemon.us
        await us.say(session, "the first", options="?resume=auto")
        assert prompt in json.dumps(model.requests[-1].body["system"])
        await us.say(session, "/clear")
        await us.say(session, "the second")
        await does_its_own(us, session)
        await acts_by_itself(us, session)
        (await us.post(f"/api/sessions/{session}/stop")).raise_for_status()
        await remembers(us, session, "the second")
        forked = (await us.post(f"/api/sessions/{session}/fork")).raise_for_status().json()
        fork = forked["session"]["id"]
        await us.say(fork, "the fork's", options="?resume=auto")
        await us.say(session, "the third")
    async with running(wanted(data_dir, model), other_tenant=False) as daemon:
        await remembers(daemon.us, session, "the second", "the third")
        await remembers(daemon.us, fork, "the second", "the fork's")
