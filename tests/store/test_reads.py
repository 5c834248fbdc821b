"""Reads of a SQLite file that fail, and the size of its log."""

import sqlite3

import pytest

from ash.errors import AshError, Unavailable
from ash.store import open_store, sqlite
from ash.store.driver import DAMAGED


class BrokenConnection:
    """A connection each of whose reads fails."""

    def __init__(self, error):
        self._error = error

    def execute(self, *_):
        raise self._error

    def close(self):
        pass


def failure(code):
    error = sqlite3.OperationalError("from SQLite")
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def break_reads(store, monkeypatch):
    """Lets each read of the store fail with the error."""

    def break_them(error):
        driver, broken = store._driver, BrokenConnection(error)
        for connection in (driver._loop_reader, *driver._idle_readers):
            connection.close()
        monkeypatch.setattr(driver, "_loop_reader", broken)
        monkeypatch.setattr(driver, "_idle_readers", [broken] * sqlite.READERS)

    return break_them


READS = {
    "one": lambda store: store.session_by_id("s"),
    "list": lambda store: store.events("default", "s"),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_read_that_the_disk_refuses_is_a_503(store, break_reads, read):
    """The caller may try again, so it is told why in words."""
    break_reads(failure(sqlite3.SQLITE_IOERR))
    with pytest.raises(Unavailable, match="The disk of the database fails"):
        await read(store)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_read_of_a_damaged_file_says_so(store, break_reads, read):
    """Nobody can mend that by trying again."""
    break_reads(failure(sqlite3.SQLITE_CORRUPT))
    with pytest.raises(AshError) as raised:
        await read(store)
    assert DAMAGED == raised.value.text


@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_read_that_fails_otherwise_is_not_explained_away(store, break_reads, read):
    """An error that nobody expects is raised unchanged."""
    break_reads(error := failure(sqlite3.SQLITE_ERROR))
    with pytest.raises(sqlite3.OperationalError) as raised:
        await read(store)
    assert error is raised.value


async def test_log_that_has_grown_shrinks_again(tmp_path, new_session, now, monkeypatch):
    """One large write does not leave a large log behind for ever."""
    monkeypatch.setattr(sqlite, "WAL_LIMIT_BYTES", 100_000)
    async with open_store(tmp_path / "ash.db") as store:
        stored = new_session()
        await store.create_session(stored)
        sizes = []
        for size in (6_000_000, 10, 10):
            await store.add_event(stored.session.id, "text", "x" * size, now)
            sizes.append((tmp_path / "ash.db-wal").stat().st_size)
    assert (True, True) == (sizes[0] > 5_000_000, sizes[-1] <= 100_000)
