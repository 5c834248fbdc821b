"""The driver for SQLite.

Point reads run in the event loop: one takes a fraction of the time of a switch to a thread, and in
WAL mode a reader never waits for a writer. Lists run in threads, because they may be long. Commits
run in a thread, because they may wait for a lock, a checkpoint or the disk.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import trio

from ash.errors import AshError, StartError, Unavailable
from ash.log import get_logger
from ash.store.driver import (
    DAMAGED,
    FailureLog,
    OwnershipLost,
    Params,
    Row,
    Statement,
    StoreClosed,
    Unit,
)
from ash.store.schema import SqlQuery, migrate, refuse_foreign
from ash.store.writer import Outcome, Writer

T = TypeVar("T")

log = get_logger()

# The first version with RETURNING.
OLDEST = (3, 35, 0)
# How many lists are read at the same time; more would only compete for the interpreter lock.
READERS = 2
# How many seconds a commit waits for another program that holds the write lock, such as a backup.
# Less than the grace of a shutdown.
BUSY_TIMEOUT = 5.0
# The next checkpoint truncates a larger WAL to this size.
WAL_LIMIT_BYTES = 64 * 1024 * 1024
# A change of a few bytes writes whole pages to the log. Of a turn with 4 KB of messages, 14 KB are
# written with pages of this size, and 30 KB with SQLite's usual 4096. Reading 20 MB takes 43 ms
# instead of 23, a point read no longer than before (bench/store.py).
PAGE_BYTES = 1024
WAIT_OUT = {
    sqlite3.SQLITE_BUSY: "The database is busy: another program holds its lock",
    sqlite3.SQLITE_FULL: "The disk of the database is full: try again when there is room",
    sqlite3.SQLITE_IOERR: (
        "The disk of the database fails, it is full, broken or read-only: try again when that is"
        " mended"
    ),
    sqlite3.SQLITE_READONLY: (
        "The database is mounted read-only, or another's: try again when that is mended"
    ),
}
MOVED = "The file of the database was moved or deleted: put it back, or restart ashd"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteDriver:
    """Owns one connection that writes, one for reads in the loop, and some for reads in threads.

    `run` closes them.
    """

    def __init__(self, path: Path) -> None:
        """Opens and migrates the database; call it in a thread. Raises StartError."""
        self._writing, (self._loop_reader, *self._idle_readers) = _open(path)
        self._path, self._inode = path, path.stat().st_ino
        self._reading = trio.CapacityLimiter(READERS)
        self._failures = FailureLog()
        self._writer = Writer(self._commit, self._close)
        self.write = self._writer.write
        self.run = self._writer.run

    async def fetch_one(
        self, query: SqlQuery, params: Params, build: Callable[[Row], T]
    ) -> T | None:
        if self._writer.closed:
            raise StoreClosed
        found = self._read(self._loop_reader, query, params, build)
        return found[0] if found else None

    async def fetch(
        self,
        query: SqlQuery,
        params: Params,
        build: Callable[[Row], T],
        until: Callable[[T], bool] | None = None,
    ) -> list[T]:
        return await trio.to_thread.run_sync(
            self._fetch, query, params, build, until, limiter=self._reading
        )

    def _fetch(
        self,
        query: SqlQuery,
        params: Params,
        build: Callable[[Row], T],
        until: Callable[[T], bool] | None,
    ) -> list[T]:
        try:
            connection = self._idle_readers.pop()
        except IndexError:
            # The limiter admits as many calls as there are connections, so they are closed.
            raise StoreClosed from None
        try:
            return self._read(connection, query, params, build, until)
        finally:
            self._give_back(connection)

    def _read(
        self,
        connection: sqlite3.Connection,
        query: SqlQuery,
        params: Params,
        build: Callable[[Row], T],
        until: Callable[[T], bool] | None = None,
    ) -> list[T]:
        """Leaves no cursor open: it would keep the connection on an old snapshot."""
        try:
            rows = connection.execute(query.text, params)
            if until is None:
                return [build(row) for row in rows.fetchall()]
            with closing(rows):
                return _up_to(map(build, rows), until)
        except sqlite3.Error as error:
            raise self._explain(error) from error

    def _give_back(self, connection: sqlite3.Connection) -> None:
        self._idle_readers.append(connection)
        if self._writer.closed:
            self._close_idle()

    def _commit(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if self._has_moved():
            self._failures.met(moved := Unavailable(MOVED))
            return [moved for _ in units]
        outcomes = self._outcomes(units)
        if any(isinstance(outcome, list) for outcome in outcomes):
            self._prepare_readers()
            self._failures.wrote()
        return outcomes

    def _has_moved(self) -> bool:
        """Whether the file was renamed or deleted: the next daemon would not find what we write."""
        try:
            return os.stat(self._path).st_ino != self._inode  # noqa: PTH116 - twice as fast
        except FileNotFoundError:
            return True

    def _prepare_readers(self) -> None:
        """Reads once after a commit, so that no reader has to write to the shared memory file.

        The first read after a commit writes a word there, which may wait for the disk; that must
        not happen in the event loop.
        """
        with suppress(sqlite3.Error):
            self._writing.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()

    def _outcomes(self, units: Sequence[Unit]) -> Sequence[Outcome]:
        if len(units) == 1:
            return [self._commit_alone(units[0])]
        try:
            return self._commit_together(units)
        except sqlite3.Error as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                return [self._explain(error) for _ in units]
        return [self._commit_alone(unit) for unit in units]

    def _commit_alone(self, unit: Unit) -> Outcome:
        try:
            with self._transaction():
                return [self._execute(statement) for statement in unit]
        except Exception as error:  # noqa: BLE001 - the caller of `write` gets it
            return self._explain(error)

    def _commit_together(self, units: Sequence[Unit]) -> list[Outcome]:
        """Commits units in one transaction; raises an error of the transaction as a whole."""
        with self._transaction():
            return [self._attempt(unit) for unit in units]

    def _attempt(self, unit: Unit) -> Outcome:
        self._writing.execute("SAVEPOINT unit")
        try:
            result: Outcome = [self._execute(statement) for statement in unit]
        except Exception as error:
            if not self._writing.in_transaction:
                raise
            self._writing.execute("ROLLBACK TO unit")
            result = self._explain(error)
        self._writing.execute("RELEASE unit")
        return result

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writing.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._writing.execute("COMMIT")
        except BaseException:
            # On a full disk SQLite has rolled back already.
            if self._writing.in_transaction:
                self._writing.execute("ROLLBACK")
            raise

    def _execute(self, statement: Statement) -> list[Row]:
        cursor = self._writing.execute(statement.query.text, statement.params)
        rows: list[Row] = cursor.fetchall()
        if max(cursor.rowcount, len(rows)) < statement.expect:
            raise OwnershipLost(statement.query.name)
        return rows

    def _explain(self, error: Exception) -> Exception:
        """Turns an error that a caller or operator can act on into words, and logs it."""
        worded = _in_words(error)
        if worded is None:
            return error
        worded.__cause__ = error
        self._failures.met(worded)
        return worded

    def _close(self) -> None:
        """Closes the writing connection last, because it merges the WAL into the database."""
        self._loop_reader.close()
        self._close_idle()
        self._writing.close()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._idle_readers.pop().close()


def _up_to(found: Iterator[T], until: Callable[[T], bool]) -> list[T]:
    taken = []
    for each in found:
        taken.append(each)
        if until(each):
            break
    return taken


def _open(path: Path) -> tuple[sqlite3.Connection, list[sqlite3.Connection]]:
    """Opens the connection that writes, and those that read; the first of these is the loop's."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise StartError(f"SQLite {sqlite3.sqlite_version} is too old: ash needs 3.35 or newer")
    with ExitStack() as opened:
        try:
            _create_private(path)
            writing = opened.enter_context(closing(_connect(path, "rw", BUSY_TIMEOUT)))
            _set_up(writing)
            reading = [
                opened.enter_context(closing(_connect(path, "ro", 0))) for _ in range(1 + READERS)
            ]
        except OSError as error:
            raise StartError(f"Can't use the database {path}: {error.strerror}") from error
        except sqlite3.Error as error:
            why = DAMAGED if _code(error) == sqlite3.SQLITE_CORRUPT else error
            raise StartError(f"Can't use the database {path}: {why}") from error
        opened.pop_all()
    return writing, reading


def _create_private(path: Path) -> None:
    """Makes the file before SQLite does, so that no other user can read it at any moment.

    SQLite gives the WAL's files the same mode.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _connect(path: Path, mode: str, timeout: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    connection.row_factory = sqlite3.Row
    return connection


def _set_up(connection: sqlite3.Connection) -> None:
    refuse_foreign(connection)
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    _use_log(connection)
    migrate(connection)
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    if page_bytes != PAGE_BYTES:
        _rewrite(connection)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")


def _use_log(connection: sqlite3.Connection) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise sqlite3.OperationalError("its file system allows no write-ahead log")


def _rewrite(connection: sqlite3.Connection) -> None:
    """Writes the file of an older ash anew, with our size of pages. It works without that, too."""
    try:
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("VACUUM")
    except sqlite3.OperationalError as error:
        log.warning("store.not_rewritten", why=str(error))
    finally:
        _use_log(connection)


def _in_words(error: Exception) -> AshError | None:
    code = _code(error)
    if text := WAIT_OUT.get(code):
        return Unavailable(text)
    return AshError(DAMAGED) if code in _DAMAGED else None


def _code(error: Exception) -> int:
    """SQLite's primary result code, or -1 if the error is not from SQLite."""
    extended: int = getattr(error, "sqlite_errorcode", -1)
    return extended & 0xFF if extended >= 0 else -1
