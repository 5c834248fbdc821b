"""The SQLite driver.

Point reads run in the loop: one costs a fraction of a hop to a thread, and in WAL mode no
writer makes a reader wait. Everything else runs in threads: lists, which may be long, and
commits, which may wait for a lock, for a checkpoint, for the disk.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import trio

from ash.errors import StartError, Unavailable
from ash.store.driver import Closed, Lost, Params, Row, Statement, Unit
from ash.store.schema import migrate
from ash.store.sql import Query
from ash.store.writer import Outcome, Writer

T = TypeVar("T")

# RETURNING came with it.
OLDEST = (3, 35, 0)
# Lists read at the same time. More only compete for the interpreter lock.
READERS = 2
# How long a commit waits for another program that holds the write lock: a backup's moment, and
# less than the grace of a shutdown.
BUSY_TIMEOUT_MS = 5_000
# A WAL that a burst has blown up is cut back to this at the next checkpoint.
WAL_LIMIT_BYTES = 64 * 1024 * 1024


class SqliteDriver:
    """Owns its connections; `run` closes them."""

    def __init__(self, path: Path) -> None:
        """Opens and migrates: call it in a thread. Raises StartError."""
        self._writing = _open_for_writing(path)
        self._near = _open_for_reading(path)
        self._idle = [_open_for_reading(path) for _ in range(READERS)]
        self._reading = trio.CapacityLimiter(READERS)
        self._closed = False
        self._writer = Writer(self._commit, self._close)
        self.write = self._writer.write
        self.run = self._writer.run

    async def fetch_one(self, query: Query, params: Params, build: Callable[[Row], T]) -> T | None:
        if self._closed:
            raise Closed
        rows = self._near.execute(query.text, params).fetchall()
        return build(rows[0]) if rows else None

    async def fetch(self, query: Query, params: Params, build: Callable[[Row], T]) -> list[T]:
        return await trio.to_thread.run_sync(
            self._fetch, query, params, build, limiter=self._reading
        )

    def _fetch(self, query: Query, params: Params, build: Callable[[Row], T]) -> list[T]:
        if self._closed:
            raise Closed
        connection = self._idle.pop()
        try:
            return [build(row) for row in connection.execute(query.text, params)]
        finally:
            self._give_back(connection)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle.append(connection)
        if self._closed:
            self._close_idle()

    def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        try:
            return self._commit_together(units)
        except sqlite3.Error as error:
            if len(units) == 1 or _is_busy(error):
                return [_told(error) for _ in units]
        return [outcome for unit in units for outcome in self._commit([unit])]

    def _commit_together(self, units: Sequence[Unit]) -> list[Outcome]:
        """Raises what concerns the whole transaction; nothing is written then."""
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._attempt(unit) for unit in units]
            self._writing.execute("COMMIT")
        except BaseException:
            # A full disk has rolled back by itself.
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise
        return outcomes

    def _attempt(self, unit: Unit) -> Outcome:
        self._writing.execute("SAVEPOINT unit")
        try:
            result: Outcome = [self._execute(statement) for statement in unit]
        except (Lost, sqlite3.Error) as error:
            if not self._writing.in_transaction:
                raise
            self._writing.execute("ROLLBACK TO unit")
            result = error
        self._writing.execute("RELEASE unit")
        return result

    def _execute(self, statement: Statement) -> list[Row]:
        cursor = self._writing.execute(statement.query.text, statement.params)
        rows: list[Row] = cursor.fetchall()
        if max(cursor.rowcount, len(rows)) < statement.expect:
            raise Lost(statement.query.name)
        return rows

    def _close(self) -> None:
        """The writer goes last: the last one out folds the WAL into the database."""
        self._closed = True
        self._near.close()
        self._close_idle()
        self._writing.close()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle.pop().close()


def _open_for_writing(path: Path) -> sqlite3.Connection:
    if sqlite3.sqlite_version_info < OLDEST:
        raise StartError(f"SQLite {sqlite3.sqlite_version} is too old: ash needs 3.35 or newer")
    try:
        # Made here and not by SQLite, so that nobody else can read it at any moment. The WAL's
        # files take over its mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)
        return _prepared(path)
    except OSError as error:
        raise StartError(f"Can't use the database {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StartError(f"Can't use the database {path}: {error}") from error


def _prepared(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_MS / 1000, isolation_level=None, check_same_thread=False
    )
    try:
        _enable_wal(connection)
        migrate(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
    except BaseException:
        connection.close()
        raise
    connection.row_factory = sqlite3.Row
    return connection


def _enable_wal(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("its file system allows no write-ahead log")


def _open_for_reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=0,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _told(error: sqlite3.Error) -> Exception:
    if not _is_busy(error):
        return error
    busy = Unavailable("The database is busy: another program holds its write lock")
    busy.__cause__ = error
    return busy
