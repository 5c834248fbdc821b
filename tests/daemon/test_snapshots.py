"""Sessions that outlive the disk they were on, by a real S3 endpoint on loopback."""

import json
import shutil

import pytest

from tests.support.daemon import running, settings
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
        await daemon.us.deploy(env={"TOKEN": "the agent's"})
        session = await daemon.us.create(extraEnv={"SECRET": "x"}, systemPrompt="be brief")
        await remember(daemon.us, session)
        await stop(daemon.us, session)
    async with backed_up(tmp_path / "two") as daemon:
        us = daemon.us
        assert 404 == (await resume(daemon.them, session))[0]
        status, answer = await resume(us, session)
        assert (200, "active") == (status, answer.get("session", answer).get("status", answer))
        assert "by-hand\n" == await run(us, session, "cat made/file")
        assert await recalls(us, session)
