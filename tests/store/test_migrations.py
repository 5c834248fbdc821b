"""Databases that an older ash made."""

import sqlite3
from contextlib import closing

import pytest

from ash.store import open_store, schema

SESSION = """
INSERT INTO sessions (
    id, tenant_id, agent_name, agent_version, sandbox_id, status, settings, owner, generation,
    next_frame, created_at, last_active_at
) VALUES (?, 'default', 'helper', 1, ?, 'ended', '{}', 'standalone', 1, 1, ?, ?)
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
