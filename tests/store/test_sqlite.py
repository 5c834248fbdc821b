"""What is special to SQLite: its file, its locks, its crashes."""

import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.errors import StartError, Unavailable
from ash.store import open_store, schema
from ash.store.driver import Statement
from ash.store.schema import SqlQuery

CHILD = Path(__file__).with_name("writes_until_killed.py")


@pytest.fixture
async def store(tmp_path):
    async with open_store(tmp_path / "ash.db") as opened:
        yield opened


@pytest.fixture
def lock(store, other_program):
    """Holds SQLite's write lock from outside while the block runs."""

    class Lock:
        def __enter__(self):
            other_program.execute("BEGIN IMMEDIATE")

        def __exit__(self, *_):
            other_program.execute("ROLLBACK")

    return Lock()


async def refusal(path):
    with pytest.raises(StartError) as caught:
        async with open_store(path):
            pass
    assert "\n" not in caught.value.text
    return caught.value.text


async def test_files_are_private(store, session_id, tmp_path):
    """Only the daemon's user can read the database and its WAL."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert {"ash.db": 0o600, "ash.db-wal": 0o600, "ash.db-shm": 0o600} == modes


async def test_durability(store):
    """The database runs in WAL mode with synchronous NORMAL."""
    names = ("journal_mode", "synchronous", "foreign_keys")
    values = [store._driver._writing.execute(f"PRAGMA {name}").fetchone()[0] for name in names]
    assert ["wal", 1, 1] == values


async def test_file_with_open_mode(tmp_path):
    """A database that others could read is made private at the next start."""
    path = tmp_path / "ash.db"
    path.touch(0o644)
    async with open_store(path):
        assert 0o600 == stat.S_IMODE(path.stat().st_mode)


async def test_close_leaves_one_file(tmp_path):
    """Closing merges the WAL, so the database is a single file."""
    async with open_store(tmp_path / "ash.db"):
        pass
    assert ["ash.db"] == [path.name for path in tmp_path.iterdir()]


async def test_path_with_signs_of_a_url(tmp_path):
    """A path may contain characters with a meaning in URLs."""
    folder = tmp_path / "a?mode=memory#b%20c"
    folder.mkdir()
    async with open_store(folder / "ash.db"):
        pass
    assert ["ash.db"] == [path.name for path in folder.iterdir()]


async def test_folder_missing(tmp_path):
    """The error for a missing folder is one line with its path."""
    path = tmp_path / "missing" / "ash.db"
    assert f"Can't use the database {path}: No such file or directory" == await refusal(path)


async def test_folder_not_writable():
    """The error for a folder that can't be written is one line, also for root."""
    assert "Can't use the database /proc/ash.db: " in await refusal(Path("/proc/ash.db"))


async def test_file_damaged(tmp_path):
    """A file that is not a database is refused and stays unchanged."""
    path = tmp_path / "ash.db"
    path.write_bytes(b"not a database, " * 100)
    assert f"Can't use the database {path}: file is not a database" == await refusal(path)
    assert b"not a database, " * 100 == path.read_bytes()


async def test_schema_from_the_future(tmp_path):
    """A database of a newer ash is refused and stays unchanged."""
    path = tmp_path / "ash.db"
    async with open_store(path):
        pass
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
            " VALUES ('ash', '0999_future', '')"
        )
    expected = "The database was made by a newer ash (it has 0999_future): update ash"
    assert expected == await refusal(path)


async def test_database_of_another_program(tmp_path):
    """It is refused and stays unchanged."""
    path = tmp_path / "ash.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE agents (id TEXT)")
    before = path.read_bytes()
    expected = "The database was made by another program: choose another data directory"
    assert expected == await refusal(path)
    assert before == path.read_bytes()


async def test_file_that_is_moved_while_in_use(store, tmp_path, session_id, now):
    """Writes are refused, since the next daemon won't find them; put back, it works again."""
    path = tmp_path / "ash.db"
    path.rename(tmp_path / "backup.db")
    with pytest.raises(Unavailable, match="was moved or deleted: put it back"):
        await store.add_event(session_id, "text", None, now)
    (tmp_path / "backup.db").rename(path)
    await store.add_event(session_id, "text", None, now)


async def test_migrations_applied_once(tmp_path, monkeypatch):
    """New migrations are applied in order, and one that fails leaves no trace."""
    path = tmp_path / "ash.db"
    shipped = schema.scripts()
    async with open_store(path):
        pass
    broken = {**shipped, "0998_next": "CREATE TABLE a (b TEXT);\nCREATE TABLE a (b TEXT);\n"}
    monkeypatch.setattr(schema, "scripts", lambda: broken)
    assert "table a already exists" in await refusal(path)
    mended = {**shipped, "0998_next": "CREATE TABLE a (b TEXT);\n"}
    monkeypatch.setattr(schema, "scripts", lambda: mended)
    async with open_store(path):
        pass
    async with open_store(path):
        pass


async def test_reads_while_another_program_writes(store, session_id, lock, nursery, now):
    """While another program holds the write lock, writes wait and reads answer."""
    with lock:
        nursery.start_soon(store.add_event, session_id, "text", None, now)
        await wait_all_tasks_blocked()
        with trio.fail_after(1):
            assert session_id == (await store.session("default", session_id)).session.id
            assert [] == await store.events("default", session_id)
    await store.add_event(session_id, "text", None, now)
    assert 2 == len(await store.events("default", session_id))


async def test_write_lock_never_given_back(store, session_id, lock, now):
    """Writes that wait too long for the lock fail as busy, and later ones work."""
    store._driver._writing.execute("PRAGMA busy_timeout = 50")
    tried, refused = [], []
    store._driver._writing.set_trace_callback(tried.append)

    async def write():
        with pytest.raises(Unavailable, match="The database is busy"):
            await store.add_event(session_id, "text", None, now)
        refused.append(1)

    with lock:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(write)
    assert [1] * 5 == refused
    assert len(tried) <= 2
    await store.add_event(session_id, "text", None, now)
    assert [1] == [event.sequence for event in await store.events("default", session_id)]


async def test_disk_full(store, create, lock, now):
    """A write that does not fit fails; those in the same group succeed."""
    small, big = await create(), await create()
    (pages,) = store._driver._writing.execute("PRAGMA page_count").fetchone()
    store._driver._writing.execute(f"PRAGMA max_page_count = {pages + 10}")
    with pytest.RaisesGroup(pytest.RaisesExc(Unavailable, match="The disk")):
        async with trio.open_nursery() as nursery:
            with lock:
                nursery.start_soon(store.add_event, small, "text", "first", now)
                await wait_all_tasks_blocked()
                nursery.start_soon(store.add_event, small, "text", "second", now)
                nursery.start_soon(store.add_event, big, "text", "x" * 1_000_000, now)
                nursery.start_soon(store.add_event, small, "text", "third", now)
                await wait_all_tasks_blocked()
    assert [] == await store.events("default", big)
    assert {"first", "second", "third"} == {
        event.data for event in await store.events("default", small)
    }


async def test_commit_refused(store, session_id, lock, now):
    """If a group's commit fails, its units are committed one by one."""
    later = SqlQuery("later", "", "PRAGMA defer_foreign_keys = ON")
    orphan = SqlQuery("orphan", "", "INSERT INTO logs VALUES ('nobody', 1, 'system', '', '', 0)")
    unit = [Statement(later, {}), Statement(orphan, {})]
    with pytest.RaisesGroup(pytest.RaisesExc(sqlite3.IntegrityError, match="FOREIGN KEY")):
        async with trio.open_nursery() as nursery:
            with lock:
                nursery.start_soon(store.add_event, session_id, "text", "first", now)
                await wait_all_tasks_blocked()
                nursery.start_soon(store.add_event, session_id, "text", "second", now)
                nursery.start_soon(store._driver.write, unit)
                nursery.start_soon(store.add_event, session_id, "text", "third", now)
                await wait_all_tasks_blocked()
    events = await store.events("default", session_id)
    assert [1, 2, 3] == [event.sequence for event in events]
    assert {"first", "second", "third"} == {event.data for event in events}


async def test_kill_loses_nothing(tmp_path):
    """After SIGKILL during writes, everything that was reported as committed is there."""
    path = tmp_path / "ash.db"
    run = partial(trio.lowlevel.open_process, stdout=subprocess.PIPE)
    child = await run([sys.executable, CHILD, path])
    with trio.fail_after(30):
        told = await lines(child, at_least=300)
    async with open_store(path) as store:
        messages = await store.messages("default", "session", limit=1_000_000)
        events = await store.events("default", "session", limit=1_000_000)
        assert ["session"] == [session.id for session in await store.recover("killed", "2027")]
    assert set(told) <= {message.content.strip('"') for message in messages}
    assert list(range(1, len(messages) + 1)) == [message.sequence for message in messages]
    assert len(messages) - 3 == len(events)


async def lines(child, at_least):
    """Kills the child while it runs; returns the complete lines that it has printed."""
    printed = b""
    async for chunk in child.stdout:
        printed += chunk
        if printed.count(b"\n") >= at_least:
            child.kill()
    await child.wait()
    return printed.decode().splitlines()[: printed.count(b"\n")]


async def test_readers_write_nothing(store, create, tmp_path):
    """A read never writes to the shared memory file, which could wait for a disk."""
    shared = trio.Path(tmp_path / "ash.db-shm")
    for _ in range(3):
        session_id = await create()
        before = await shared.read_bytes()
        assert await store.session_by_id(session_id) is not None
        await store.messages("default", session_id)
        assert before == await shared.read_bytes()


async def test_close_closes_each_connection(tmp_path):
    """One that has read holds the log; it isn't left to whoever drops the last reference."""
    async with open_store(tmp_path / "ash.db") as store:
        assert await store.session_by_id("none") is None
    assert ["ash.db"] == [path.name for path in tmp_path.iterdir()]
    assert store is not None
