"""Agents in the store."""

import pytest
import trio
from msgspec import UNSET

LATER = "2026-02-01T00:00:00.000Z"


@pytest.fixture
def deploy(store, now):
    async def deploy(name="helper", tenant="default", now=now, source="v1", **given):
        return await store.deploy_agent(
            tenant, name, path="/agents/helper", source=source, now=now, **given
        )

    return deploy


async def test_agent_deployed_first(deploy, now):
    """A first deploy makes version 1 with exactly the given fields."""
    stored = await deploy(model="sonnet")
    assert (1, "sonnet", UNSET) == (
        stored.agent.version,
        stored.agent.model,
        stored.agent.description,
    )
    assert now == stored.agent.created_at == stored.agent.updated_at


async def test_agent_deployed_again(store, deploy, now):
    """A second deploy is the next version of the same agent."""
    first = await deploy()
    second = await store.deploy_agent("default", "helper", path="/new", source="v2", now=LATER)
    assert (first.agent.id, 2, "/new", "v2") == (
        second.agent.id,
        second.agent.version,
        second.agent.path,
        second.source,
    )
    assert (now, LATER) == (second.agent.created_at, second.agent.updated_at)


async def test_agent_deployed_again_keeps_settings(deploy):
    """A deploy leaves the fields that it does not give."""
    settings = {"description": "helps", "model": "sonnet", "config": {"a": [1]}}
    await deploy(env={"TOKEN": "s3cret"}, **settings)
    stored = await deploy()
    kept = {name: getattr(stored.agent, name) for name in settings}
    assert settings == kept
    assert {"TOKEN": "s3cret"} == stored.env


async def test_agent_deployed_again_replaces_settings(deploy):
    """A deploy replaces the fields that it gives, also by an empty environment."""
    await deploy(env={"TOKEN": "s3cret"}, model="sonnet")
    stored = await deploy(env={}, model="opus")
    assert ({}, "opus") == (stored.env, stored.agent.model)


async def test_agent_env_in_public_form(deploy):
    """The public form has the names of the environment but no values."""
    stored = await deploy(env={"TOKEN": "s3cret"})
    assert {"TOKEN": "***"} == stored.agent.env


async def test_agent_deployed_by_many(store, deploy):
    """Concurrent deploys get one version each."""
    versions = []

    async def one():
        versions.append((await deploy()).agent.version)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(one)
    assert list(range(1, 21)) == sorted(versions)


async def test_agent_of_another_tenant(store, deploy):
    """An agent of another tenant is not found, and its name is free."""
    await deploy(tenant="a")
    mine = await deploy(tenant="b")
    assert 1 == mine.agent.version
    assert None is await store.agent("c", "helper")


async def test_agents_in_order(store, deploy):
    """A tenant's own agents are listed by name."""
    for name, tenant in (("b", "default"), ("a", "default"), ("c", "other")):
        await deploy(name, tenant)
    assert ["a", "b"] == [stored.agent.name for stored in await store.agents("default")]


async def test_agent_deleted(store, deploy):
    """Deleting returns the agent; a second time there is none."""
    deployed = await deploy()
    assert deployed == await store.delete_agent("default", "helper")
    assert None is await store.delete_agent("default", "helper")
    assert None is await store.agent("default", "helper")


async def test_agent_deleted_by_another_tenant(store, deploy):
    """A tenant can't delete another's agent."""
    deployed = await deploy()
    assert None is await store.delete_agent("other", "helper")
    assert deployed == await store.agent("default", "helper")


async def test_version_is_kept_while_a_session_may_need_it(store, deploy, create, end_session):
    """Of an agent that was deployed again, and of one that was deleted."""
    first = await deploy(source="/one", env={"TOKEN": "1"})
    session = await create(agent_source="/one")
    second = await deploy(source="/two", env={"TOKEN": "2"})
    assert [first, second] == await store.kept_deploys("default", "helper")
    await store.delete_agent("default", "helper")
    assert [first] == await store.all_kept_deploys()
    assert first == await store.deployed("/one")
    await end_session(session)
    assert [] == await store.kept_deploys("default", "helper")
    assert None is await store.deployed("/one")


async def test_versions_of_others_stay(store, deploy):
    """What is forgotten is that agent's own."""
    await deploy(tenant="a", source="/a")
    await deploy("other", source="/other")
    assert [] == await store.kept_deploys("default", "helper")
    assert ["/a", "/other"] == [kept.source for kept in await store.all_kept_deploys()]
