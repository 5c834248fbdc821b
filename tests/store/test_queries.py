"""Every query in queries/*.sql is named, described, used and valid."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import ash.store
from ash.store.schema import load, migrate

STORE = Path(ash.store.__file__).parent
SCRIPTS = sorted((STORE / "queries").glob("*.sql"))
QUERIES = [query for script in SCRIPTS for query in load(script.stem).values()]

# They read all of a table that has few rows.
WHOLE_TABLES = {"keys", "all_agents", "all_deploys", "drop_all_unused_deploys", "open_turns"}


@pytest.fixture(scope="module")
def schema():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection)
        yield connection


def plan(connection, query):
    params = dict.fromkeys(re.findall(r":(\w+)", query.text))
    rows = connection.execute(f"EXPLAIN QUERY PLAN {query.text}", params)
    return [detail for *_, detail in rows]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_is_read_whole(script):
    """Every statement of a script is a query with a name and a one-line description."""
    queries = load(script.stem).values()
    read = "\n\n".join(f"-- name: {q.name}\n-- {q.description}\n{q.text};" for q in queries)
    assert script.read_text() == f"{read}\n"


def test_names_are_unique():
    """No two queries have the same name."""
    names = [query.name for query in QUERIES]
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_query_is_understood(schema, query):
    """Each query fits the newest schema, and its description is a sentence."""
    plan(schema, query)
    assert re.fullmatch(r"[A-Z].+\.", query.description)


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.name)
def test_query_finds_its_rows(schema, query):
    """No query scans a whole table, so its cost does not grow with other data."""
    tables = {name for (name,) in schema.execute("SELECT name FROM sqlite_master")}
    scanned = [
        step
        for step in plan(schema, query)
        if re.match(r"SCAN (\w+)", step) and re.match(r"SCAN (\w+)", step)[1] in tables
    ]
    assert (query.name in WHOLE_TABLES) == bool(scanned)


def test_queries_are_used():
    """The code uses every query, and only queries that exist."""
    source = "".join(path.read_text() for path in STORE.glob("*.py"))
    assert sorted(query.name for query in QUERIES) == sorted(
        set(re.findall(r'(?:SQL|SESSIONS|HISTORY)\["(\w+)"\]', source))
    )
