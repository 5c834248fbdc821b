"""A session keeps the version of its agent that it was made from: files, environment, config."""

import shutil
import sqlite3

import pytest

from tests.support.daemon import running, settings


async def deploy(us, number):
    """Version `number` of an agent; what it is differs in its file and its environment."""
    env, prompt = {"NUMBER": str(number)}, f"I am {number}."
    agent = await us.deploy(env=env, systemPrompt=prompt, config={"network": [f"v{number}.test"]})
    return agent["version"]


async def what_it_is(us, session):
    """What the session has of its agent, and what it says that it has."""
    command = {"command": "echo $NUMBER; cat CLAUDE.md"}
    done = await us.post(f"/api/sessions/{session}/exec", json=command)
    shown = (await us.get(f"/api/sessions/{session}")).raise_for_status().json()["session"]
    number, prompt = done.raise_for_status().json()["stdout"].splitlines()[:2]
    return shown["agentVersion"], number, prompt


async def change(us, session, action):
    response = (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()
    return response.json()["session"]["id"]


async def redeploy(us):
    for number in (2, 3):
        await deploy(us, number)


async def delete(us):
    (await us.delete("/api/agents/helper")).raise_for_status()


async def replace(us):
    """Another agent under the same name begins at version 1 again."""
    await delete(us)
    assert 1 == await deploy(us, 2)


FIRST = (1, "1", "I am 1.")


@pytest.mark.parametrize("meanwhile", [redeploy, delete, replace])
@pytest.mark.parametrize("action", ["pause", "stop"])
async def test_resumed_session_keeps_its_version(us, meanwhile, action):
    """Its sandbox may still be there or not, and its agent may be another one or none."""
    await deploy(us, 1)
    session = await us.create()
    await change(us, session, action)
    await meanwhile(us)
    await change(us, session, "resume")
    assert FIRST == await what_it_is(us, session)


@pytest.mark.parametrize("meanwhile", [redeploy, delete])
async def test_fork_has_its_parents_version(us, meanwhile):
    """Also when it is made after the version was replaced."""
    await deploy(us, 1)
    session = await us.create()
    await meanwhile(us)
    fork = await change(us, session, "fork")
    await change(us, fork, "resume")
    assert FIRST == await what_it_is(us, fork)


async def test_new_session_has_the_latest_version(us):
    """Whatever older sessions have."""
    await deploy(us, 1)
    await us.create()
    await redeploy(us)
    assert (3, "3", "I am 3.") == await what_it_is(us, await us.create())


@pytest.mark.parametrize("meanwhile", [redeploy, delete])
async def test_session_whose_files_are_lost_begins_with_its_version(data_dir, meanwhile):
    """The agent's copy stays as long as a session was made from it, also over a restart."""
    async with running(settings(data_dir), other_tenant=False) as daemon:
        await deploy(daemon.us, 1)
        session = await daemon.us.create()
        await change(daemon.us, session, "stop")
        await meanwhile(daemon.us)
    shutil.rmtree(data_dir / "sessions" / session)
    async with running(settings(data_dir), other_tenant=False) as daemon:
        await change(daemon.us, session, "resume")
        assert FIRST == await what_it_is(daemon.us, session)


async def test_copy_that_no_session_needs_is_removed(us, data_dir):
    """Of an agent that is deployed again, or deleted, when its sessions have ended."""
    await deploy(us, 1)
    sessions = [await us.create() for _ in range(2)]
    copies = data_dir / "agents" / "default" / "helper"
    (first,) = copies.iterdir()
    (await us.delete(f"/api/sessions/{sessions[0]}")).raise_for_status()
    await redeploy(us)
    assert first.is_dir()
    (await us.delete(f"/api/sessions/{sessions[1]}")).raise_for_status()
    await deploy(us, 4)
    assert not first.exists()
    assert 2 == len(list(copies.iterdir()))
    await delete(us)
    assert not copies.exists()


async def test_session_of_an_unknown_version_goes_on_with_its_own_files(data_dir):
    """As one from before versions were kept. With the policy gone, only the model is open."""
    async with running(settings(data_dir), other_tenant=False) as daemon:
        await deploy(daemon.us, 1)
        session = await daemon.us.create()
        await change(daemon.us, session, "stop")
        await delete(daemon.us)
    with sqlite3.connect(data_dir / "ash.db") as database:
        database.execute("UPDATE sessions SET agent_source = NULL")
    database.close()
    async with running(settings(data_dir), other_tenant=False) as daemon:
        us = daemon.us
        await change(us, session, "resume")
        assert (1, "", "I am 1.") == await what_it_is(us, session)
        logs = (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]
        told = (
            "the agent was deleted, and with it its env and config: only the model can be reached"
        )
        assert told in [line["text"] for line in logs]
        assert "completed" == (await us.say(session, "hello"))[-1].value["reason"]


async def test_session_without_files_and_agent_cannot_go_on(us, data_dir):
    """The answer says what is gone."""
    await deploy(us, 1)
    session = await us.create()
    await change(us, session, "stop")
    await delete(us)
    shutil.rmtree(data_dir / "sessions" / session)
    shutil.rmtree(data_dir / "agents")
    response = await us.post(f"/api/sessions/{session}/resume")
    assert 404 == response.status_code
    words = 'The files of this session are gone, and so is version 1 of its agent "helper"'
    assert response.json()["error"].startswith(words)
