"""A daemon whose disk takes no writes: the kernel itself refuses them."""

import base64
import subprocess
from contextlib import asynccontextmanager

import pytest
import trio

from tests.daemon.test_store_faults import goes_on, seen_until_cut
from tests.support.crash import Ashd
from tests.support.daemon import KEY, Client
from tests.support.loop_disk import loop_disk
from tests.support.read_only import (
    OWN_MOUNTS,
    check_mounts,
    check_open_files,
    immutable,
    mounted_read_only,
)

FOLDERS = "The server's data directory takes no writes: it is mounted read-only."
DATABASE = (
    "The disk of the database fails, it is full, broken or read-only: try again when that is mended"
)


@asynccontextmanager
async def serving(data_dir, before=OWN_MOUNTS):
    """A daemon in a process of its own, with mounts of its own, and a client of it."""
    check_mounts()
    ashd = Ashd(data_dir, "--engine", "scripted", before=before)
    await ashd.start()
    try:
        async with Client(ashd.url, KEY) as us:
            await us.deploy()
            yield ashd, us
    finally:
        await ashd.stop()


@pytest.fixture
async def world(data_dir):
    async with serving(data_dir) as world:
        yield world


def database(data_dir):
    """What its connections write to. Its third file is memory that they share."""
    check_open_files(data_dir)
    return immutable(data_dir / "ash.db", data_dir / "ash.db-wal")


async def changes(us, session, stopped):
    """What is answered to all that writes."""
    file = {"path": "x", "content": base64.b64encode(b"x").decode()}
    ours = f"/api/sessions/{session}"
    asked = [
        us.post("/api/agents", json={"name": "other", "systemPrompt": "be kind"}),
        us.post("/api/agents", json={"name": "helper", "systemPrompt": "be rude"}),
        us.post("/api/sessions", json={"agent": "helper"}),
        us.post(f"{ours}/fork", json={}),
        us.delete(f"{ours}/files/CLAUDE.md"),
        us.post(f"/api/sessions/{stopped}/resume"),
    ]
    answers = [await each for each in asked]
    (written,) = (await us.post(f"{ours}/files", json={"files": [file]})).json()["files"]
    assert not written["written"]
    told = [(answer.status_code, answer.json()["error"]) for answer in answers]
    return [*told, (503, written["error"])]


async def reads(us, *sessions):
    """All that needs no write is answered as ever."""
    assert "ok" == (await us.get("/health")).json()["status"]
    for session in sessions:
        for kind in ("messages", "events", "logs", "files"):
            assert 200 == (await us.get(f"/api/sessions/{session}/{kind}")).status_code, kind


async def recalls(us, session):
    frames = await us.say(session, "RECALL")
    return next(frame.value["result"] for frame in frames if frame.event == "turn_complete")


async def test_folders_that_become_read_only(world, data_dir):
    """Changes are refused in words, reading goes on, no file is lost; then all is as before."""
    ashd, us = world
    session, stopping, stopped = [await us.create() for _ in range(3)]
    for each in (session, stopping, stopped):
        await us.say(each, "WRITE: made.txt by the agent")
    await us.post(f"/api/sessions/{stopped}/stop")
    with mounted_read_only(ashd.process.pid, data_dir):
        for status, text in await changes(us, session, stopped):
            assert (503, FOLDERS) == (status, text[: len(FOLDERS)])
            assert str(data_dir) not in text
        await reads(us, session, stopping, stopped)
        answer = await us.post(f"/api/sessions/{stopping}/stop")
        assert (200, "stopped") == (answer.status_code, answer.json()["session"]["status"])
        found = await us.get(f"/api/sessions/{stopping}/files/made.txt")
        assert "by the agent" == found.text
        assert "completed" == (await us.say(session, "hello"))[-1].value["reason"]
        assert 200 == (await us.post(f"/api/sessions/{session}/pause")).status_code
    for each in (session, stopping, stopped):
        assert 200 == (await us.post(f"/api/sessions/{each}/resume")).status_code
        assert "made.txt" in await recalls(us, each)
        found = await us.get(f"/api/sessions/{each}/files/made.txt")
        assert "by the agent" == found.text
    await us.deploy("other")
    await us.create("other")
    assert 0 == (await us.get("/health")).json()["pool"]["cold"]


async def test_database_that_becomes_read_only(world, data_dir):
    """The turn that runs shows nothing more, changes are refused; then all goes on."""
    _, us = world
    busy, idle, stopped = [await us.create() for _ in range(3)]
    await us.say(idle, "hello")
    await us.post(f"/api/sessions/{stopped}/stop")
    async with us.sending(busy, "SLOW: 4 1", includePartialMessages=True) as stream:
        first = await stream.until("text_delta")
        with database(data_dir):
            frames = await seen_until_cut(stream)
            assert "done" not in [frame.event for frame in frames]
            for answer in (
                await us.post("/api/agents", json={"name": "o", "systemPrompt": "x"}),
                await us.post("/api/sessions", json={"agent": "helper"}),
                await us.post(f"/api/sessions/{idle}/messages", json={"content": "hi"}),
                await us.post(f"/api/sessions/{idle}/pause"),
                await us.post(f"/api/sessions/{idle}/fork", json={}),
                await us.post(f"/api/sessions/{stopped}/resume"),
                await us.delete(f"/api/sessions/{stopped}"),
                await us.delete("/api/agents/helper"),
            ):
                assert (503, DATABASE) == (answer.status_code, answer.json()["error"])
            await reads(us, busy, idle, stopped)
    await goes_on(us, busy, [first, *frames])
    assert "hello" in await recalls(us, idle)
    assert 200 == (await us.post(f"/api/sessions/{stopped}/resume")).status_code


async def test_disk_that_breaks(tmp_path):
    """After an error the kernel makes it read-only for good: what is there is read to the last."""
    with loop_disk(tmp_path) as disk:
        data_dir = disk.folder / "data"
        async with serving(data_dir, before=()) as (ashd, us):
            session, stopping = await us.create(), await us.create()
            await us.say(session, "hello")
            disk.fail()
            answer = await us.post(f"/api/sessions/{session}/messages", json={"content": "hi"})
            assert (503, DATABASE) == (answer.status_code, answer.json()["error"])
            answer = await us.post(f"/api/sessions/{stopping}/stop")
            assert (503, "yet") == (answer.status_code, answer.json()["error"][-3:])
            await reads(us, session, stopping)
        assert 0 == ashd.process.returncode
        text = f"ashd: Can't write to the data directory {data_dir}: Read-only file system"
        assert (1, [text]) == await start(data_dir, log=tmp_path / "log")


async def start(data_dir, *before, log=None):
    """What a daemon says that can't start: its exit code and its lines."""
    log = log or data_dir.parent / "log"
    ashd = Ashd(data_dir, before=before, log=log)
    await trio.to_thread.run_sync(ashd.spawn)
    out, _ = await trio.to_thread.run_sync(ashd.process.communicate)
    lines = log.read_text().splitlines()
    return ashd.process.returncode, [*out.splitlines(), *lines]


def contents(folder):
    """All that is in it, and of the database its bytes."""
    found = {str(path): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}
    return {name: what for name, what in found.items() if not name.endswith("ashd.lock")}


def mounting(folder):
    """A command before which that folder becomes read-only, for its process alone."""
    script = f'mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && exec "$@"'
    return (*OWN_MOUNTS, "sh", "-c", script, "sh")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (".", "Can't write to the data directory {}: Read-only file system"),
        ("sandboxes", "Can't write to {}/sandboxes: is it mounted read-only, or another's?"),
        ("sessions", "Can't write to {}/sessions: is it mounted read-only, or another's?"),
        ("agents", "Can't write to {}/agents: is it mounted read-only, or another's?"),
    ],
)
async def test_start_on_read_only_folders(data_dir, name, line):
    """One line that names the folder, exit code 1, and all stays as it was."""
    async with serving(data_dir) as (_, us):
        await us.post(f"/api/sessions/{await us.create()}/stop")
    before = contents(data_dir)
    found = await start(data_dir, *mounting(data_dir / name))
    assert (1, [f"ashd: {line.format(data_dir)}"]) == found
    assert before == contents(data_dir)


@pytest.mark.parametrize("what", ["ash.db", "."])
async def test_start_on_an_immutable_database(data_dir, what):
    """One line that names the file, exit code 1, and nothing is made in its place."""
    async with serving(data_dir):
        pass
    before = contents(data_dir)
    with immutable(data_dir / what):
        code, lines = await start(data_dir)
    assert (1, 1) == (code, len(lines))
    assert lines[0].startswith(f"ashd: Can't use the database {data_dir}/ash.db: ")
    assert before == contents(data_dir)


async def test_first_start_on_a_read_only_disk(tmp_path):
    """One line that names the folder, and exit code 1."""
    check_mounts()
    data_dir = tmp_path / "disk" / "data"
    data_dir.parent.mkdir()
    found = await start(data_dir, *mounting(data_dir.parent))
    text = f"ashd: Can't write to the data directory {data_dir}: Read-only file system"
    assert (1, [text]) == found


def test_helper_mounts_are_the_child_s_alone(tmp_path):
    """What a test makes read-only stays writable for everybody else."""
    check_mounts()
    done = subprocess.run([*mounting(tmp_path), "touch", tmp_path / "file"], check=False)
    assert done.returncode
    (tmp_path / "file").touch()
