"""Databases that an older ash made."""

import json
import sqlite3
from contextlib import closing

import pytest

from ash.store import open_store, schema, sqlite

SESSION = """
INSERT INTO sessions (
    id, tenant_id, agent_name, agent_version, sandbox_id, status, settings, owner, generation,
    next_frame, created_at, last_active_at
) VALUES (?, 'default', 'helper', 1, ?, 'ended', '{}', 'standalone', 1, 1, ?, ?)
"""

NUMBERED_SESSION = """
INSERT INTO sessions (
    id, tenant_id, agent_name, agent_version, sandbox_id, status, settings, owner, generation,
    next_frame, created_at, last_active_at, number
) VALUES (?, 'default', 'helper', 1, ?, 'ended', '{}', 'standalone', 1, 99, 't', 't', ?)
"""


@pytest.fixture
def old(tmp_path, monkeypatch):
    """`old(last)`: a connection to a database that has the migrations up to that one."""

    def make(last):
        shipped = schema.scripts()
        known = {name: script for name, script in shipped.items() if name <= last}
        connection = sqlite3.connect(tmp_path / "ash.db", isolation_level=None)
        with monkeypatch.context() as patch:
            patch.setattr(schema, "scripts", lambda: known)
            schema.migrate(connection)
        return closing(connection)

    return make


async def test_sessions_of_an_older_ash_keep_their_order(old, tmp_path):
    """They are numbered by age, and a new one comes after them."""
    with old("0003_frames") as connection:
        for name, time in (("b", "2026-02"), ("a", "2026-01"), ("c", "2026-03")):
            connection.execute(SESSION, (name, name, time, time))
    async with open_store(tmp_path / "ash.db") as store:
        found, total = await store.sessions("default")
    assert (["c", "b", "a"], 3) == ([session.id for session in found], total)


async def test_conversation_of_an_older_ash_is_known(old, tmp_path):
    """A session that had been cleared does not get back what was cleared."""
    ids = ["11111111-0000-4000-8000-000000000000", "22222222-0000-4000-8000-000000000000"]
    with old("0006_session_numbers") as connection:
        connection.execute(NUMBERED_SESSION, ("s", "s", 1))
        connection.execute(
            "INSERT INTO turns (id, session_id, start_frame, created_at) VALUES ('t', 's', 1, 't')"
        )
        for number, conversation in enumerate(ids, 1):
            init = {"type": "system", "subtype": "init", "session_id": conversation}
            connection.execute(OLD_MESSAGE, (number, json.dumps(init), number))
    async with open_store(tmp_path / "ash.db") as store:
        assert ids[1] == (await store.session_by_id("s")).conversation


OLD_MESSAGE = """
INSERT INTO messages (session_id, sequence, id, turn_id, role, content, frame, created_at)
VALUES ('s', ?, 'm', 't', 'assistant', ?, ?, 't')
"""

OLD_HISTORY = """
INSERT INTO turns (id, session_id, start_frame, end_frame, error_frame, reason, error, version,
    origin, created_at, ended_at)
VALUES
    ('one', 's', 1, 9, NULL, 'completed', NULL, '1.0', NULL, 't1', 't3'),
    ('two', 's', 10, 14, 13, 'error', 'oh', '1.1', NULL, 't4', 't6'),
    ('three', 's', 15, 18, NULL, 'completed', NULL, '1.1', 'task', 't7', 't8'),
    ('four', 's', 20, NULL, NULL, NULL, NULL, '1.1', NULL, 't9', NULL);
INSERT INTO messages (session_id, sequence, id, turn_id, role, content, frame, created_at)
VALUES
    ('s', 1, 'm1', NULL, 'user', '"copied question"', NULL, 't0'),
    ('s', 2, 'm2', NULL, 'assistant', '"copied answer"', NULL, 't0'),
    ('s', 3, 'm3', 'one', 'user', '"first"', NULL, 't1'),
    ('s', 4, 'm4', 'one', 'assistant', '"a"', 4, 't2'),
    ('s', 5, 'm5', 'one', 'assistant', '"b"', 7, 't2'),
    ('s', 6, 'm6', 'two', 'user', '"second"', NULL, 't4'),
    ('s', 7, 'm7', 'three', 'assistant', '"on its own"', 17, 't7'),
    ('s', 8, 'm8', 'four', 'user', '"third"', NULL, 't9'),
    ('s', 9, 'm9', 'four', 'assistant', '"cut"', 25, 't9');
INSERT INTO events (session_id, sequence, id, type, data, created_at)
VALUES
    ('s', 1, 'e1', 'lifecycle', '{"action":"created"}', 't0'),
    ('s', 2, 'e2', 'text', '{"text":"a"}', 't2'),
    ('s', 3, 'e3', 'error', '{"error":"oh"}', 't6');
"""


@pytest.fixture
async def store(old, tmp_path):
    """A store whose history an ash has written that had a table for each kind of it."""
    with old("0007_conversations") as connection:
        for number, name in enumerate(("other", "s", "empty"), 1):
            connection.execute(NUMBERED_SESSION, (name, name, number))
        connection.executescript(OLD_HISTORY)
    async with open_store(tmp_path / "ash.db") as opened:
        yield opened


async def test_messages_of_an_older_ash_are_kept(store):
    """With their numbers and ids; the copies of a fork, too."""
    found = await store.messages("default", "s")
    assert [(f"m{n}", n) for n in range(1, 10)] == [(m.id, m.sequence) for m in found]
    assert ["first", "a", "b", "second"] == [json.loads(m.content) for m in found[2:6]]
    assert ["user", "assistant", "user", "assistant", "assistant"] == [m.role for m in found[:5]]
    assert [6, 7] == [m.sequence for m in await store.messages("default", "s", after=5, limit=2)]


async def test_timeline_of_an_older_ash_is_kept(store):
    """With its numbers and ids. What is new comes after it."""
    await store.add_event("s", "lifecycle", None, "t9")
    found = await store.events("default", "s")
    assert ["e1", "e2", "e3"] == [event.id for event in found[:3]]
    assert [(1, "lifecycle"), (2, "text"), (3, "error"), (4, "lifecycle")] == [
        (event.sequence, event.type) for event in found
    ]


async def test_frames_of_an_older_ash_are_kept(store):
    """A client that comes back after the update misses nothing."""
    found = await store.frames_after("default", "s", after=0)
    assert [
        (1, "session_start", "1.0"),
        (4, "message", 4),
        (7, "message", 5),
        (9, "done", "completed"),
        (10, "session_start", "1.1"),
        (13, "error", "oh"),
        (14, "done", "error"),
        (15, "session_start", "1.1"),
        (17, "message", 7),
        (18, "done", "completed"),
        (20, "session_start", "1.1"),
        (25, "message", 9),
    ] == [(frame.id, frame.event, frame.text or frame.sequence) for frame in found]
    inside = [n for n in range(30) if await store.in_turn("default", "s", n)]
    assert [*range(1, 9), *range(10, 14), *range(15, 18), *range(20, 30)] == inside


async def test_open_turn_of_an_older_ash_is_ended(store):
    """A daemon that was killed and then updated leaves one."""
    assert 7 == await store.finished_up_to("s")
    (turn,) = await store.open_turns("standalone")
    assert ("s", 99) == (turn.session_id, turn.error_frame)
    await store.recover("standalone", "t9")
    assert [] == await store.open_turns("standalone")
    assert ["error", "done"] == [
        frame.event for frame in await store.frames_after("default", "s", after=25)
    ]


async def test_pages_of_an_older_database_are_made_smaller(store, tmp_path):
    """A write of a few bytes writes a whole page, so small pages save most of it."""
    with closing(sqlite3.connect(tmp_path / "ash.db")) as connection:
        assert (sqlite.PAGE_BYTES,) == connection.execute("PRAGMA page_size").fetchone()
        assert ("wal",) == connection.execute("PRAGMA journal_mode").fetchone()


async def test_database_is_written_anew_once(store, tmp_path, monkeypatch):
    """Neither at the next start nor if it was made with small pages."""
    monkeypatch.setattr(sqlite, "_rewrite", None)
    async with open_store(tmp_path / "new.db"):
        pass
    async with open_store(tmp_path / "new.db"):
        pass


async def test_database_that_can_not_be_written_anew_works(old, tmp_path, monkeypatch):
    """There may be no room for a copy."""
    with old("0007_conversations") as connection:
        connection.execute(NUMBERED_SESSION, ("s", "s", 1))
    monkeypatch.setattr(sqlite, "PAGE_BYTES", 1000)  # no size that SQLite knows
    async with open_store(tmp_path / "ash.db") as store:
        await store.add_event("s", "lifecycle", None, "t9")
        assert 1 == len(await store.events("default", "s"))
