"""Loads the SQL: the named queries, and the migrations that make the schema.

A migration is a numbered script, which sqlite-utils applies once, in a transaction of its own.
The scripts are plain SQL, because composite keys, partial indexes and foreign keys are most
readable in it.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from types import MappingProxyType

from msgspec import Struct
from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from ash.errors import StartError

_QUERY = re.compile(
    r"^-- name: (?P<name>\w+)\n-- (?P<description>.+)\n(?P<text>[^;]+);$", re.MULTILINE
)


class SqlQuery(Struct, frozen=True):
    """One query of a script in `queries/`, with the comment lines above it."""

    name: str
    description: str
    text: str


def load(topic: str) -> Mapping[str, SqlQuery]:
    """The queries of `queries/<topic>.sql` by name."""
    script = files("ash.store").joinpath("queries", f"{topic}.sql").read_text("utf-8")
    found = (SqlQuery(**match.groupdict()) for match in _QUERY.finditer(script))
    return MappingProxyType({query.name: query for query in found})


def refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises StartError for a database of another program, before anything is written into it."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
    if names and Migrations.migrations_table not in names:
        raise StartError("The database was made by another program: choose another data directory")


def migrate(connection: sqlite3.Connection) -> None:
    """Migrates the database to the newest schema. Raises StartError if a newer ash made it."""
    database = Database(connection, recursive_triggers=False, execute_plugins=False)
    migrations = _migrations()
    unknown = {applied.name for applied in migrations.applied(database)} - set(scripts())
    if unknown:
        raise StartError(
            f"The database was made by a newer ash (it has {max(unknown)}): update ash"
        )
    migrations.apply(database)


def scripts() -> dict[str, str]:
    """The migrations by name, oldest first."""
    folder = files("ash.store").joinpath("migrations")
    found = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    return {name.removesuffix(".sql"): found[name] for name in sorted(found)}


def _migrations() -> Migrations:
    migrations = Migrations("ash")
    for name, script in scripts().items():
        migrations(name=name)(_applying(script))
    return migrations


def _applying(script: str) -> Callable[[Database], None]:
    def apply(database: Database) -> None:
        for statement in _statements(script):
            database.conn.execute(statement)

    apply.__name__ = "apply"
    return apply


def _statements(script: str) -> Iterator[str]:
    """The script's statements one by one; `executescript` would commit the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
