"""Under which name git commits in a sandbox."""

import pytest

from tests.support.daemon import running, settings

COMMIT = "git init -q repo; cd repo; git commit -q --allow-empty -m x; git log --format='%an <%ae>'"


async def runs(us, session, command):
    done = await us.post(f"/api/sessions/{session}/exec", json={"command": command})
    found = done.raise_for_status().json()
    assert "" == found["stderr"].strip()
    return found["stdout"]


@pytest.mark.parametrize("isolation", ["best-effort", "none"])
async def test_git_commits_as_the_agent(data_dir, isolation):
    """Nobody has to set a name first, in a new sandbox or in one that was resumed."""
    async with running(settings(data_dir, isolation=isolation), other_tenant=False) as daemon:
        us = daemon.us
        await us.deploy("my-agent_2")
        session = await us.create("my-agent_2")
        assert "my-agent_2 <my-agent_2@ash.invalid>\n" == await runs(us, session, COMMIT)
        for action in ("stop", "resume"):
            (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()
        again = "cd repo; git commit -q --allow-empty -m y; git log -1 --format=%an"
        assert "my-agent_2\n" == await runs(us, session, again)


@pytest.mark.parametrize(
    ("setting", "env"),
    [
        ("git config --global user.name Ann;", {}),
        ("mkdir -p .config/git; printf '[user]\nname = Ann' > ~/.gitconfig;", {}),
        ("", {"GIT_AUTHOR_NAME": "Ann"}),
        ("printf '[user]\nname = Ann\nemail = a@b' > sys;", {"GIT_CONFIG_SYSTEM": "../sys"}),
    ],
)
async def test_own_name_counts_first(us, setting, env):
    """A configuration of the agent's own, or its environment."""
    await us.deploy(env=env)
    session = await us.create()
    assert "Ann <" == (await runs(us, session, f"{setting} {COMMIT}"))[:5]


async def test_repositorys_name_counts_first(us):
    """As its configuration does everywhere."""
    await us.deploy()
    session = await us.create()
    command = "git init -q repo; git -C repo config user.name Ann;"
    assert "Ann <" == (await runs(us, session, f"{command} {COMMIT}"))[:5]


async def test_home_that_cannot_be_written_costs_only_the_name(us):
    """The session goes on, and its log says what is missing."""
    await us.deploy()
    session = await us.create()
    await runs(us, session, "rm -r ~/.config; touch ~/.config")
    for action in ("stop", "resume"):
        (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()
    logs = (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]
    assert any("git has no identity to commit under" in line["text"] for line in logs)
