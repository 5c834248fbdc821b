"""Deploying and deleting agents."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.agent_files.sent_files import SentFile
from ash.agents import Agents, Deployment
from ash.errors import BadRequest, NotFound, Unavailable
from ash.store import open_store
from ash.workspaces.copy_program import MAX_DEPTH
from tests.support.read_only import immutable

PLAIN = Deployment()
FILES = {"CLAUDE.md": b"be kind", "tools/run.sh": b"\x00\xff"}


def sent(files):
    return [SentFile(path, content) for path, content in files.items()]


class FixedClock:
    def now(self):
        return 1e9


class Told(list):
    """Records what the pool is told of agents."""

    def deployed(self, stored):
        self.append(("deployed", stored.agent.name, stored.agent.version))

    def deleted(self, tenant, name):
        self.append(("deleted", tenant, name))


@pytest.fixture
def data_dir(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def told():
    return Told()


@pytest.fixture
async def store(data_dir):
    async with open_store(data_dir / "ash.db") as store:
        yield store


@pytest.fixture
def agents(store, data_dir, told):
    return Agents(store, data_dir, FixedClock(), told.deployed, told.deleted)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "an-agent"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("be kind")
    return folder


def copies(data_dir):
    return [path for path in (data_dir / "agents").glob("*/*/*") if path.is_dir()]


async def source(store, name="a", tenant="default"):
    return trio.Path((await store.agent(tenant, name)).source)


async def test_folder_is_deployed_as_a_copy(agents, store, folder):
    """Changes of the folder after the deploy don't affect the agent."""
    agent = await agents.deploy_path("default", "a", str(folder), PLAIN)
    assert (str(folder), 1) == (agent.path, agent.version)
    (folder / "CLAUDE.md").write_text("be rude")
    assert "be kind" == await (await source(store) / "CLAUDE.md").read_text()


async def test_relative_path_starts_at_the_data_directory(agents, store, data_dir):
    """A relative path starts at the data directory."""
    (data_dir / "mine").mkdir()
    (data_dir / "mine" / "CLAUDE.md").write_text("relative")
    await agents.deploy_path("default", "a", "mine", PLAIN)
    assert "relative" == await (await source(store) / "CLAUDE.md").read_text()


async def test_files_are_deployed_as_they_were_sent(agents, store):
    """Files keep their bytes and folders."""
    await agents.deploy_files("default", "a", sent(FILES), PLAIN)
    deployed = await source(store)
    assert b"be kind" == await (deployed / "CLAUDE.md").read_bytes()
    assert b"\x00\xff" == await (deployed / "tools" / "run.sh").read_bytes()


async def test_deploy_of_the_same_name_is_the_next_version(agents, store, data_dir, told):
    """The previous copy stays for sessions that are copying from it; older ones are removed."""
    sources = []
    for number in range(1, 4):
        await agents.deploy_files("default", "a", sent({"CLAUDE.md": b"%d" % number}), PLAIN)
        sources.append(str(await source(store)))
    assert sources[1:] == sorted(map(str, copies(data_dir)), key=sources.index)
    assert [("deployed", "a", 1), ("deployed", "a", 2), ("deployed", "a", 3)] == told


async def test_deploy_that_fails_leaves_nothing(agents, store, data_dir):
    """If the disk takes no writes, neither a partial copy nor an empty folder is left."""
    with immutable(data_dir), pytest.raises(Unavailable, match="may not write"):
        await agents.deploy_files("default", "a", sent(FILES), PLAIN)
    with pytest.raises(BadRequest):
        await agents.deploy_files("default", "a", sent({**FILES, "CLAUDE.md/x": b""}), PLAIN)
    assert [] == list((data_dir / "agents" / "default").iterdir())


async def test_concurrent_deploys_leave_the_files_of_the_last(agents, store, nursery):
    """Concurrent deploys of an agent don't remove the last one's files."""
    async with trio.open_nursery() as deploying:
        for number in range(8):
            files = {"CLAUDE.md": b"%d" % number}
            deploying.start_soon(agents.deploy_files, "default", "a", sent(files), PLAIN)
    assert 8 == (await agents.get("default", "a")).version
    assert await (await source(store) / "CLAUDE.md").exists()


async def test_client_that_leaves_during_the_write_leaves_a_whole_agent(agents, store, monkeypatch):
    """A version that was stored has its files, even if the client has left."""
    begun, go_on = trio.Event(), trio.Event()
    deploy_agent = store.deploy_agent

    async def slow(*args, **kwargs):
        stored = await deploy_agent(*args, **kwargs)
        begun.set()
        await go_on.wait()
        return stored

    monkeypatch.setattr(store, "deploy_agent", slow)
    async with trio.open_nursery() as client:
        client.start_soon(agents.deploy_files, "default", "a", sent(FILES), PLAIN)
        await begun.wait()
        client.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
        go_on.set()
    assert await (await source(store) / "CLAUDE.md").exists()


async def test_deploy_that_fails_leaves_the_version_before_it(agents, store, data_dir, folder):
    """After a failed deploy the previous version still has its files."""
    await agents.deploy_files("default", "a", sent(FILES), PLAIN)
    (folder / "link").symlink_to("/etc")
    with pytest.raises(BadRequest, match="leads out"):
        await agents.deploy_path("default", "a", str(folder), PLAIN)
    assert 1 == (await agents.get("default", "a")).version
    assert [str(await source(store))] == list(map(str, copies(data_dir)))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/not/there", 'no folder "/not/there"'),
        ("/etc/passwd", 'no folder "/etc/passwd"'),
        ("/etc", "CLAUDE.md is missing"),
        ("a\0b", "no folder"),
        ("x" * 5000, "no folder"),
        ("loop", "no folder"),
        (".", "CLAUDE.md is missing"),
    ],
)
async def test_path_without_an_agent_is_refused(agents, data_dir, path, words):
    """A path must be a folder with a CLAUDE.md; the error says what is missing."""
    (data_dir / "loop").symlink_to("loop")
    with pytest.raises(BadRequest, match=words):
        await agents.deploy_path("default", "a", path, PLAIN)


async def test_folder_with_the_server_s_data_is_refused(agents, data_dir):
    """A folder that contains the database and keys is refused."""
    for folder in (data_dir, data_dir.parent):
        (folder / "CLAUDE.md").touch()
        with pytest.raises(BadRequest, match="the server's own data"):
            await agents.deploy_path("default", "a", str(folder), PLAIN)


async def test_files_of_other_agents_and_sessions_are_refused(agents, store, data_dir):
    """Folders of other agents and sessions are refused."""
    await agents.deploy_files("them", "a", sent(FILES), PLAIN)
    theirs = await source(store, tenant="them")
    workspace = data_dir / "sandboxes" / "id" / "workspace"
    workspace.mkdir(parents=True)
    (workspace / "CLAUDE.md").touch()
    (data_dir / "mine").symlink_to(workspace)
    for path in (str(theirs), str(workspace), "mine"):
        with pytest.raises(BadRequest, match="the server's own data"):
            await agents.deploy_path("default", "a", path, PLAIN)


@pytest.mark.parametrize(
    "path", ["/etc/x", "../x", "a/../../x", "a/..", "", ".", "/", "a\0b", "x/" * MAX_DEPTH + "y"]
)
async def test_file_that_leads_out_is_refused(agents, data_dir, path):
    """A file's path must stay in the agent's folder and not be too deep."""
    with pytest.raises(BadRequest, match="files: "):
        await agents.deploy_files("default", "a", sent({**FILES, path: b""}), PLAIN)
    assert [] == copies(data_dir)


@pytest.mark.parametrize(
    "paths", [["x", "x/y"], ["x/y", "x"], ["x" * 300]], ids=["below a file", "folder", "long"]
)
async def test_file_that_can_not_be_made_is_refused(agents, data_dir, paths):
    """A path that the disk refuses is a bad request and leaves nothing."""
    files = sent({**FILES, **dict.fromkeys(paths, b"")})
    with pytest.raises(BadRequest, match="can't be made"):
        await agents.deploy_files("default", "a", files, PLAIN)
    assert [] == copies(data_dir)


async def test_files_without_a_prompt_are_refused(agents):
    """Files without a CLAUDE.md are refused."""
    with pytest.raises(BadRequest, match=r"CLAUDE\.md is missing"):
        await agents.deploy_files("default", "a", sent({"README.md": b""}), PLAIN)


async def test_environment_is_kept_and_never_shown(agents, store):
    """The store has the values of the environment, and clients never see them."""
    await agents.deploy_files("default", "a", sent(FILES), Deployment(env={"TOKEN": "s3cret"}))
    agent = await agents.deploy_files("default", "a", sent(FILES), PLAIN)
    assert {"TOKEN": "***"} == agent.env
    assert {"TOKEN": "s3cret"} == (await store.agent("default", "a")).env


async def test_files_that_were_sent_are_left_out_by_the_same_rules(agents, store):
    """A client that sends everything gets the same agent as one that reads `.ashignore`."""
    more = {".git/HEAD": b"x", "a.log": b"x", "b/node_modules/x": b"x", ".ashignore": b"*.log"}
    agent = await agents.deploy_files("default", "a", sent({**FILES, **more}), PLAIN)
    deployed = await source(store)
    assert not await (deployed / ".git").exists()
    assert not await (deployed / "a.log").exists()
    assert [".git", "b/node_modules"] == [text.partition(":")[0] for text in agent.warnings]


async def test_environment_of_the_request_wins_over_the_env_file(agents, store):
    """The variables of `.env` are the agent's, and the request's come over them."""
    files = sent({**FILES, ".env": b"A=file\nB=file"})
    agent = await agents.deploy_files("default", "a", files, Deployment(env={"B": "asked"}))
    assert {"A": "***", "B": "***"} == agent.env
    assert {"A": "file", "B": "asked"} == (await store.agent("default", "a")).env
    assert not await (await source(store) / ".env").exists()


async def test_env_file_replaces_the_environment_before_it(agents, store, folder):
    """What is gone by that is named, without its value; a deploy without a file keeps all."""
    before = Deployment(env={"A": "1", "OLD": "s3cret"})
    await agents.deploy_files("default", "a", sent(FILES), before)
    (folder / ".env").write_text("A=2")
    agent = await agents.deploy_path("default", "a", str(folder), PLAIN)
    assert ".env: the agent's env is now what is in it, without OLD" == agent.warnings[-1]
    assert {"A": "2"} == (await store.agent("default", "a")).env
    (folder / ".env").unlink()
    agent = await agents.deploy_path("default", "a", str(folder), PLAIN)
    assert [] == agent.warnings
    assert {"A": "2"} == (await store.agent("default", "a")).env


async def test_strict_keeps_the_environment_that_an_env_file_would_replace(agents, store):
    """A deploy refuses what a check finds: a variable would be gone."""
    await agents.deploy_files("default", "a", sent(FILES), Deployment(env={"OLD": "1"}))
    files = sent({**FILES, ".ashignore": b".env", ".env": b"A=2"})
    strict = Deployment(strict=True)
    checked = await agents.check_files("default", "a", files, strict)
    assert (False, [".env"]) == (checked.ok, [found.path for found in checked.findings])
    with pytest.raises(BadRequest, match="without OLD"):
        await agents.deploy_files("default", "a", files, strict)
    assert {"OLD": "1"} == (await store.agent("default", "a")).env


async def test_env_file_that_can_not_be_read_deploys_nothing(agents, data_dir):
    """A broken line refuses the deploy and leaves nothing."""
    with pytest.raises(BadRequest, match=r"\.env: line 2"):
        await agents.deploy_files("default", "a", sent({**FILES, ".env": b"A=1\nB"}), PLAIN)
    assert [] == copies(data_dir)


async def test_agents_are_listed_by_name(agents):
    """A tenant's own agents are listed by name."""
    for tenant, name in (("default", "b"), ("default", "a"), ("them", "c")):
        await agents.deploy_files(tenant, name, sent(FILES), PLAIN)
    assert ["a", "b"] == [agent.name for agent in await agents.find("default")]


async def test_deleted_agent_is_gone_with_its_files(agents, data_dir, told):
    """Row and folder are deleted, and the pool is told."""
    await agents.deploy_files("default", "a", sent(FILES), PLAIN)
    await agents.delete("default", "a")
    with pytest.raises(NotFound, match='no agent "a"'):
        await agents.get("default", "a")
    assert [] == copies(data_dir)
    assert ("deleted", "default", "a") == told[-1]


async def test_agent_of_another_tenant_is_not_found(agents, store):
    """An agent of another tenant is not found, and its name is free."""
    await agents.deploy_files("them", "a", sent(FILES), PLAIN)
    for ask in (partial(agents.get, "default", "a"), partial(agents.delete, "default", "a")):
        with pytest.raises(NotFound):
            await ask()
    await agents.deploy_files("default", "a", sent({"CLAUDE.md": b"mine"}), PLAIN)
    assert b"be kind" == await (await source(store, tenant="them") / "CLAUDE.md").read_bytes()


@pytest.mark.parametrize("tenant", ["..", ".", "a/b", "%2E", "ü"])
async def test_tenant_s_name_leads_nowhere_else(agents, store, data_dir, tenant):
    """A tenant's folder is below `agents`, whatever the tenant's name."""
    await agents.deploy_files(tenant, "a", sent(FILES), PLAIN)
    (copy,) = copies(data_dir)
    assert str(await source(store, tenant=tenant)) == str(copy)
    assert data_dir / "agents" == copy.parents[2]
