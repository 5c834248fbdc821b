"""What a daemon does whose store fails: clear errors, no lie, and it goes on afterwards."""

import json
import resource
import sqlite3
import threading
from contextlib import closing, contextmanager

import h11
import pytest
import trio

from ash import daemon as ash_daemon
from ash.errors import AshError
from ash.store.driver import DAMAGED
from ash.store.sqlite import SqliteDriver
from tests.support.crash import Ashd
from tests.support.daemon import KEY, Client, running, settings
from tests.support.waiting import until

SLOW = "SLOW: 4 0.4"


@contextmanager
def locked(data_dir):
    """Another program holds the write lock."""
    with closing(sqlite3.connect(data_dir / "ash.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def turns(data_dir):
    with closing(sqlite3.connect(data_dir / "ash.db")) as connection:
        return connection.execute("SELECT reason, error FROM turns ORDER BY start_frame").fetchall()


async def refused(us, session):
    response = await us.post(f"/api/sessions/{session}/messages", json={"content": "hi"})
    return response.status_code, response.json()["error"]


async def goes_on(us, session, frames):
    """The session broke, says why, and resumes; ids grow on."""
    await us.becomes(session, "error")
    rows = await us.history(session, "events")
    assert any("could not be stored" in row["data"] for row in rows if row["type"] == "lifecycle")
    resumed = await us.post(f"/api/sessions/{session}/resume")
    assert (200, "active") == (resumed.status_code, resumed.json()["session"]["status"])
    after = await us.say(session, "still there?")
    assert ("done", "completed") == (after[-1].event, after[-1].value["reason"])
    assert frames[-1].id < after[0].id


async def seen_until_cut(stream):
    """What was shown before the stream broke off."""
    frames = []
    try:
        while True:
            frames.append(await anext(stream))
    except h11.RemoteProtocolError:
        return frames


async def test_lock_held_for_a_moment_only_delays(us, session, data_dir, monkeypatch):
    """A backup's moment costs nothing but time: the turn ends as it would have."""
    asked, begin = threading.Event(), SqliteDriver._transaction

    def tell_and_begin(driver):
        asked.set()
        return begin(driver)

    monkeypatch.setattr(SqliteDriver, "_transaction", tell_and_begin)
    async with us.sending(session, SLOW, includePartialMessages=True) as stream:
        await stream.until("text_delta")
        with locked(data_dir):
            asked.clear()
            await until(asked.is_set)
            assert [(None, None)] == turns(data_dir)
        frames = await stream.rest()
    assert "completed" == frames[-1].value["reason"]
    assert [("completed", None)] == turns(data_dir)


async def test_lock_held_for_long_ends_the_turn(data_dir, monkeypatch):
    """No `done` is shown that is not stored; it all goes on when the lock is given back."""
    monkeypatch.setattr("ash.store.sqlite.BUSY_TIMEOUT", 0.2)
    async with running(settings(data_dir)) as daemon:
        us = daemon.us
        await us.deploy()
        busy, idle = await us.create(), await us.create()
        async with us.sending(busy, SLOW, includePartialMessages=True) as stream:
            first = await stream.until("text_delta")
            with locked(data_dir):
                frames = await seen_until_cut(stream)
                assert "done" not in [frame.event for frame in frames]
                expected = (503, "The database is busy: another program holds its lock")
                assert expected == await refused(us, idle)
                stopped = await us.post(f"/api/sessions/{idle}/stop")
                assert (503, "yet") == (stopped.status_code, stopped.json()["error"][-3:])
                assert 200 == (await us.get(f"/api/sessions/{busy}/messages")).status_code
        await goes_on(us, busy, [first, *frames])
        await us.becomes(idle, "stopped")
    broken = ("error", "What the agent did could not be stored")
    assert [broken, ("completed", None)] == turns(data_dir)


async def test_log_that_can_not_be_stored_ends_nothing(data_dir, monkeypatch):
    """What prints goes on, and so does its turn; how many lines are missing is in the log."""
    monkeypatch.setattr("ash.store.sqlite.BUSY_TIMEOUT", 0.2)
    private = {"command": "curl -s -o /dev/null -w %{http_code} http://10.1.2.3/"}
    async with running(settings(data_dir)) as daemon:
        us = daemon.us
        await us.deploy()
        session = await us.create()
        async with us.sending(session, "SLOW: 4 1.5", includePartialMessages=True) as stream:
            await stream.until("text_delta")
            with locked(data_dir):
                refusal = await us.post(f"/api/sessions/{session}/exec", json=private)
                assert "403" == refusal.json()["stdout"]
            frames = await stream.rest()
        assert "completed" == frames[-1].value["reason"]
        await us.post(f"/api/sessions/{session}/exec", json=private)
        texts = [line["text"] for line in await us.history(session, "logs")]
    missing, refused = texts[-2:]
    assert "Lines missing here, as they could not be stored: 1" == missing
    assert refused.startswith("network: 10.1.2.3:80")


async def test_full_disk_ends_the_turn(data_dir):
    """What does not fit is not shown, and is told; it all goes on when there is room."""
    ashd = Ashd(data_dir, "--engine", "scripted")
    await ashd.start()
    pid = ashd.process.pid
    try:
        async with Client(ashd.url, KEY) as us:
            await us.deploy()
            session, other = await us.create(), await us.create()
            shown = await us.say(session, "hello")
            size = (await trio.Path(data_dir / "ash.db-wal").stat()).st_size
            whole = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size + 50_000, whole[1]))
            async with us.sending(session, "BIG: 300") as stream:
                frames = await seen_until_cut(stream)
            assert "done" not in [frame.event for frame in frames]
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, whole[1]))
            code, text = await refused(us, other)
            assert (503, "The disk of the database") == (code, text[:24])
            resource.prlimit(pid, resource.RLIMIT_FSIZE, whole)
            await goes_on(us, session, [*shown, *frames])
            assert "completed" == (await us.say(other, "hi"))[-1].value["reason"]
    finally:
        await ashd.stop()
    broken = ("error", "What the agent did could not be stored")
    assert broken in turns(data_dir)


NEEDLE = b"needle"


def damage(path):
    """Overwrites the pages that are full of needles, and nothing else; how many there are."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    size = int.from_bytes(whole[16:18], "big")
    damaged = [
        at for at in range(0, len(whole), size) if not whole[at + 4 : at + size].strip(NEEDLE)
    ]
    with path.open("r+b") as file:
        for at in damaged:
            file.seek(at)
            file.write(b"\xa5" * size)
    return len(damaged)


async def test_database_that_is_damaged_while_it_runs(data_dir, tmp_path):
    """What is damaged is told, never left out; all else goes on, and the log says what to do."""
    ashd = Ashd(data_dir, "--engine", "scripted", log=tmp_path / "log")
    await ashd.start()
    try:
        async with Client(ashd.url, KEY) as us:
            await us.deploy()
            session, other = await us.create(), await us.create()
            await us.say(session, (NEEDLE * 5000).decode())
            shown = await us.say(session, "and then")
            assert 0 < damage(data_dir / "ash.db")
            for _ in range(2):
                answer = await us.get(f"/api/sessions/{session}/messages")
                assert (500, DAMAGED) == (answer.status_code, answer.json()["error"])
            # Then nothing of it is in memory any more.
            await us.post(f"/api/sessions/{session}/stop")
            async with us.watching(session, "?after=0") as stream:
                frames = await seen_until_cut(stream)
            assert "done" not in [frame.event for frame in frames]
            async with us.watching(session, f"?after={shown[0].id - 1}") as stream:
                assert shown == [await anext(stream) for _ in shown]
            assert "completed" == (await us.say(other, "hi"))[-1].value["reason"]
            assert "ok" == (await us.get("/health")).json()["status"]
    finally:
        await ashd.stop()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [DAMAGED] == [line["why"] for line in lines if line["action"] == "store.failing"]


async def test_database_that_is_all_damaged_while_it_runs(data_dir):
    """The turn that runs shows nothing that is not stored; all that asks it is told what to do."""
    ashd = Ashd(data_dir, "--engine", "scripted")
    await ashd.start()
    try:
        async with Client(ashd.url, KEY) as us:
            await us.deploy()
            session = await us.create()
            for _ in range(3):
                await us.say(session, "BIG: 100")
            async with us.sending(session, SLOW, includePartialMessages=True) as stream:
                await stream.until("text_delta")
                path = data_dir / "ash.db"
                with closing(sqlite3.connect(path)) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                size = path.stat().st_size
                with path.open("r+b") as file:
                    file.seek(4096)
                    file.write(b"\xa5" * (size - 4096))
                frames = await seen_until_cut(stream)
            assert "done" not in [frame.event for frame in frames]
            for path in (f"/api/sessions/{session}/messages", "/api/sessions", "/api/agents"):
                answer = await us.get(path)
                assert (500, DAMAGED) == (answer.status_code, answer.json()["error"])
            assert "ok" == (await us.get("/health")).json()["status"]
    finally:
        await ashd.stop()
    assert 0 == ashd.process.returncode


async def test_damaged_database_is_told_at_start(data_dir):
    """The line says what to do; nothing is made anew over it."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        for _ in range(3):
            session = await daemon.us.create()
            await daemon.us.say(session, "BIG: 20")
    path = data_dir / "ash.db"
    whole = path.read_bytes()
    damaged = whole[:4096] + b"\xa5" * (len(whole) - 4096)
    path.write_bytes(damaged)
    with pytest.RaisesGroup(AshError, flatten_subgroups=True, allow_unwrapped=True) as caught:
        await ash_daemon.run(settings(data_dir))
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert f"Can't use the database {path}: {DAMAGED}" == error.text
    assert "\n" not in error.text
    assert damaged == path.read_bytes()
