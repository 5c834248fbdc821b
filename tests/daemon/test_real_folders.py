"""Agent folders as people have them, on the real CLI: by path and by upload, through their life."""

import sys
from functools import partial

import pytest
import trio

from ash.testing import StubModel
from tests.support.daemon import KEY, running, settings
from tests.support.real_folders import abilities, claude_in, copied, init_of

pytestmark = pytest.mark.cli

NAMES = ("support-bot", "coding-agent", "research-agent")
WAYS = {"by path": [], "by upload": ["--upload"]}


@pytest.fixture
async def model():
    async with StubModel() as model:
        yield model


def wanted(data_dir, model, key="sk-right"):
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
