"""Which of the three ways to deploy an agent a request takes."""

import pytest

from ash.agent_files.sent_files import SentFile
from ash.agents import Deployment
from ash.errors import BadRequest
from ash.requests.agents import DeployAgent, File, deploy

SETTINGS = Deployment(env={"A": "b"}, config={"network": "none"})


class DeployedAgents:
    """Records what is deployed, and answers with the way that was taken."""

    def __init__(self):
        self.deployed = []

    async def deploy_path(self, *given):
        self.deployed.append(given)
        return "by path"

    async def deploy_files(self, *given):
        self.deployed.append(given)
        return "by files"


@pytest.fixture
def agents():
    return DeployedAgents()


def wanted(**more):
    return DeployAgent(name="a", env=SETTINGS.env, config=SETTINGS.config, **more)


async def test_path_is_deployed_from_the_disk(agents):
    """The agent is the folder that the path names."""
    assert "by path" == await deploy(agents, "tenant", wanted(path="folder"))
    assert [("tenant", "a", "folder", SETTINGS)] == agents.deployed


async def test_files_are_deployed_as_bytes(agents):
    """Files come as base64."""
    files = [File(path="CLAUDE.md", content="aGk=")]
    assert "by files" == await deploy(agents, "tenant", wanted(files=files))
    assert [("tenant", "a", [SentFile("CLAUDE.md", b"hi")], SETTINGS)] == agents.deployed


async def test_files_that_the_caller_has_are_not_decoded(agents):
    """The contents are taken in place of the base64."""
    files = [File(path="CLAUDE.md", content="")]
    await deploy(agents, "tenant", wanted(files=files), {"CLAUDE.md": b"hi"})
    assert [("tenant", "a", [SentFile("CLAUDE.md", b"hi")], SETTINGS)] == agents.deployed


async def test_system_prompt_becomes_the_one_file(agents):
    """An agent may be nothing but its prompt."""
    await deploy(agents, "tenant", wanted(system_prompt="be kind"))
    assert [("tenant", "a", [SentFile("CLAUDE.md", b"be kind")], SETTINGS)] == agents.deployed


@pytest.mark.parametrize("given", [{}, {"path": "folder", "system_prompt": "be kind"}])
async def test_none_or_two_ways_are_refused(agents, given):
    """A request takes exactly one way."""
    with pytest.raises(BadRequest, match="exactly one of path, files and systemPrompt"):
        await deploy(agents, "tenant", wanted(**given))
    assert [] == agents.deployed


async def test_config_that_means_nothing_is_not_deployed(agents):
    """The config is checked before anything is stored."""
    with pytest.raises(BadRequest, match=r"config\.network"):
        await deploy(agents, "tenant", DeployAgent(name="a", path="x", config={"network": "pubic"}))
    assert [] == agents.deployed
