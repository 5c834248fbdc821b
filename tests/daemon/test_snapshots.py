"""Sessions that outlive the disk they were on, by a real S3 endpoint on loopback."""

import json
import re
import shutil
from base64 import b64encode
from functools import partial
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
import trio
import zstandard

from tests.support import waiting
from tests.support.daemon import PATIENCE, running, settings
from tests.support.s3 import BUCKET, running_s3

URL = f"s3://{BUCKET}/of/ash"


@pytest.fixture(scope="module")
def endpoint():
    with running_s3() as s3:
        yield s3


@pytest.fixture
def s3(endpoint, monkeypatch):
    endpoint.make_bucket()
    for name, value in endpoint.env.items():
        monkeypatch.setenv(name, value)
    return endpoint


def backed_up(data_dir, **more):
    return running(settings(data_dir, snapshot_url=URL, **more))


async def run(client, session, command):
    response = await client.post(f"/api/sessions/{session}/exec", json={"command": command})
    return response.raise_for_status().json()["stdout"]


async def stop(client, session):
    (await client.post(f"/api/sessions/{session}/stop")).raise_for_status()


async def resume(client, session):
    response = await client.post(f"/api/sessions/{session}/resume")
    return response.status_code, response.json()


async def remember(client, session):
    """Files, and something to recall."""
    await run(client, session, "mkdir made; echo by-hand > made/file; mkdir node_modules")
    await client.say(session, "the word is heron")


async def recalls(client, session):
    frames = await client.say(session, "RECALL")
    return "heron" in json.dumps([frame.value for frame in frames])


def stored(s3):
    """All objects, by their keys."""
    with httpx.Client(base_url=s3.url, trust_env=False) as client:
        keys = re.findall("<Key>(.*?)</Key>", client.get(f"/{BUCKET}").text)
        return {key: client.get(f"/{BUCKET}/{key}").content for key in keys}


async def until(reached):
    """Asks in a thread: the server of the bucket may need the loop."""
    await waiting.until(partial(trio.to_thread.run_sync, reached))


async def left_behind(daemon, **fields):
    """A session that was stopped, with files and something to recall."""
    await daemon.us.deploy()
    session = await daemon.us.create(**fields)
    await remember(daemon.us, session)
    await stop(daemon.us, session)
    return session


async def lifecycle(client, session):
    return (await client.get(f"/api/sessions/{session}/events?type=lifecycle")).json()["events"]


async def test_session_is_resumed_from_the_cloud(s3, data_dir):
    """Without its local copy: its files and its memory are there, and the answer says wherefrom."""
    async with backed_up(data_dir) as daemon:
        us = daemon.us
        await us.deploy()
        session = await us.create()
        await remember(us, session)
        await stop(us, session)
    shutil.rmtree(data_dir / "sessions")
    async with backed_up(data_dir) as daemon:
        us = daemon.us
        assert 200 == (await resume(us, session))[0]
        assert "by-hand\n" == await run(us, session, "cat made/file")
        assert await recalls(us, session)
        events = [event["data"] for event in await us.history(session, "events")]
        assert '{"action":"resumed","path":"cold","source":"cloud"}' in events
        pool = (await us.get("/health")).json()["pool"]
        assert (1, 1) == (pool["resumeColdHits"], pool["resumeColdCloudHits"])


async def test_second_daemon_resumes_what_it_never_knew(s3, tmp_path):
    """With an empty data directory: agent, files and memory come from the cloud."""
    async with backed_up(tmp_path / "one") as daemon:
        session = await left_behind(daemon, systemPrompt="be brief", model="m")
        before = (await daemon.us.get(f"/api/sessions/{session}")).json()["session"]
    async with backed_up(tmp_path / "two") as daemon:
        us = daemon.us
        status, answer = await resume(us, session)
        assert (200, "active") == (status, answer["session"]["status"])
        same = ("id", "tenantId", "agentName", "createdAt", "model", "config")
        assert [before[name] for name in same] == [answer["session"][name] for name in same]
        assert "by-hand\n" == await run(us, session, "cat made/file")
        assert await recalls(us, session)
        actions = [json.loads(event["data"])["action"] for event in await lifecycle(us, session)]
        assert ["adopted", "resumed"] == actions


async def test_second_daemon_forks_what_it_never_knew(s3, tmp_path):
    """The fork has the files and the memory that are in the cloud; its parent is left alone."""
    async with backed_up(tmp_path / "one") as daemon:
        session = await left_behind(daemon)
    async with backed_up(tmp_path / "two") as daemon:
        us = daemon.us
        made = (await us.post(f"/api/sessions/{session}/fork")).raise_for_status().json()
        fork = made["session"]["id"]
        assert "stopped" == await us.status(session)
        assert 200 == (await resume(us, fork))[0]
        assert "by-hand\n" == await run(us, fork, "cat made/file")
        assert await recalls(us, fork)


async def test_session_that_was_taken_over_goes_on_counting(s3, tmp_path):
    """A client that knew it before the move never sees the id of a frame twice."""
    async with backed_up(tmp_path / "one") as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        last = (await daemon.us.say(session, "hello"))[-1].id
        await stop(daemon.us, session)
    async with backed_up(tmp_path / "two") as daemon:
        await resume(daemon.us, session)
        assert last < (await daemon.us.say(session, "hello"))[0].id


async def test_secrets_stay_where_they_are(s3, tmp_path):
    """Nothing in the cloud holds them, and the session says what it lacks."""
    servers = {"tracker": {"url": "https://mcp.example", "headers": {"X": "secret-header"}}}
    async with backed_up(tmp_path / "one") as daemon:
        await daemon.us.deploy(env={"TOKEN": "secret-of-agent"})
        session = await daemon.us.create(extraEnv={"KEY": "secret-of-session"}, mcpServers=servers)
        await stop(daemon.us, session)
    objects = stored(s3)
    assert objects
    for name, content in objects.items():
        is_archive = name.endswith(".zst")
        text = (
            zstandard.ZstdDecompressor().decompressobj().decompress(content)
            if is_archive
            else content
        )
        assert b"secret-" not in text, name
    async with backed_up(tmp_path / "two") as daemon:
        assert 200 == (await resume(daemon.us, session))[0]
        adopted = (await lifecycle(daemon.us, session))[0]["data"]
        assert "extraEnv, mcpServers" == json.loads(adopted)["leftOut"]
        log = (await daemon.us.get(f"/api/sessions/{session}/logs")).json()["logs"]
        assert "which does not hold extraEnv, mcpServers" in log[0]["text"]


async def test_session_of_another_tenant_is_not_taken_over(s3, tmp_path):
    """Nor what is no session: both are the same 404."""
    async with backed_up(tmp_path / "one") as daemon:
        session = await left_behind(daemon)
    async with backed_up(tmp_path / "two") as daemon:
        for asked in (session, str(uuid4()), "..", "nonsense"):
            status, answer = await resume(daemon.them, quote(asked, safe=""))
            assert 404 == status, answer
        assert 0 == (await daemon.them.get("/api/sessions")).json()["total"]


async def test_session_that_has_ended_stays_ended(s3, tmp_path):
    """Also for a daemon that never knew it."""
    async with backed_up(tmp_path / "one") as daemon:
        session = await left_behind(daemon)
        await daemon.us.delete(f"/api/sessions/{session}")
    async with backed_up(tmp_path / "two") as daemon:
        assert 410 == (await resume(daemon.us, session))[0]


async def test_two_who_resume_get_one_session(s3, tmp_path):
    """It is taken over once."""
    async with backed_up(tmp_path / "one") as daemon:
        session = await left_behind(daemon)
    async with backed_up(tmp_path / "two") as daemon:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(resume, daemon.us, session)
        assert "active" == await daemon.us.status(session)
        actions = [
            json.loads(event["data"])["action"] for event in await lifecycle(daemon.us, session)
        ]
        assert ["adopted", "resumed"] == actions


async def test_agent_s_files_are_brought_back(s3, data_dir):
    """When its copy on the disk is gone, for a new session as for one that is resumed."""
    async with backed_up(data_dir) as daemon:
        session = await left_behind(daemon)
    shutil.rmtree(data_dir / "agents")
    async with backed_up(data_dir) as daemon:
        fresh = await daemon.us.create()
        assert "be kind" in await run(daemon.us, fresh, "cat CLAUDE.md")
        assert 200 == (await resume(daemon.us, session))[0]


async def test_agent_that_is_deleted_leaves_nothing(s3, data_dir):
    """Its backups go with it."""
    async with backed_up(data_dir) as daemon:
        await daemon.us.deploy()
        await until(lambda: any(key.startswith("of/ash/agents/") for key in stored(s3)))
        await daemon.us.delete("/api/agents/helper")
        await until(lambda: not any(key.startswith("of/ash/agents/") for key in stored(s3)))


async def test_failing_cloud_holds_nobody_up(endpoint, data_dir, monkeypatch):
    """Sessions run as ever, the daemon ends in time; what was missed is uploaded later."""
    for name, value in endpoint.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with backed_up(data_dir) as daemon:
        session = await left_behind(daemon)
        assert 200 == (await resume(daemon.us, session))[0]
        status, answer = await resume(daemon.us, str(uuid4()))
        assert (503, "The snapshot store can't be reached") == (status, answer["error"][:35])
        with trio.fail_after(PATIENCE):
            await daemon.stop()
    endpoint.make_bucket()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    async with backed_up(data_dir):
        await until(lambda: 4 == len(stored(endpoint)))
    shutil.rmtree(data_dir / "sessions")
    async with backed_up(data_dir) as daemon:
        assert 200 == (await resume(daemon.us, session))[0]
        assert "by-hand\n" == await run(daemon.us, session, "cat made/file")


async def test_session_whose_backup_can_not_be_reached_is_not_begun_afresh(
    endpoint, data_dir, monkeypatch
):
    """It would lose its files: so a 503, and resuming works later."""
    endpoint.make_bucket()
    for name, value in endpoint.env.items():
        monkeypatch.setenv(name, value)
    async with backed_up(data_dir) as daemon:
        session = await left_behind(daemon)
    shutil.rmtree(data_dir / "sessions")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    async with backed_up(data_dir) as daemon:
        assert 503 == (await resume(daemon.us, session))[0]
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
    async with backed_up(data_dir) as daemon:
        assert 200 == (await resume(daemon.us, session))[0]
        assert "by-hand\n" == await run(daemon.us, session, "cat made/file")


async def test_what_was_installed_is_installed_again(s3, data_dir):
    """What can be made again is not uploaded, so install.sh runs when files come from the cloud."""
    script = b64encode(b"mkdir -p node_modules; date +%N > node_modules/when").decode()
    files = [
        {"path": "CLAUDE.md", "content": b64encode(b"be kind").decode()},
        {"path": "install.sh", "content": script},
    ]
    async with backed_up(data_dir) as daemon:
        await daemon.us.deploy(systemPrompt=None, files=files)
        session = await daemon.us.create()
        first = await run(daemon.us, session, "cat node_modules/when")
        await stop(daemon.us, session)
        await resume(daemon.us, session)
        assert first == await run(daemon.us, session, "cat node_modules/when")
        await stop(daemon.us, session)
    shutil.rmtree(data_dir / "sessions")
    async with backed_up(data_dir) as daemon:
        await resume(daemon.us, session)
        assert first != await run(daemon.us, session, "cat node_modules/when")
