"""Fixtures for the store. Every driver passes the same tests; a new one is an entry in OPENERS."""

from contextlib import closing
from functools import partial
from itertools import count
from sqlite3 import connect

import pytest

from ash.lifecycle import CHANGES
from ash.model import Session, SessionSettings, StoredSession
from ash.store import open_store

NOW = "2026-01-02T03:04:05.678Z"

OPENERS = {"sqlite": lambda folder: open_store(folder / "ash.db")}


@pytest.fixture(params=OPENERS)
def opener(request, tmp_path):
    """A function that opens the same store each time."""
    return partial(OPENERS[request.param], tmp_path)


@pytest.fixture
async def store(opener):
    async with opener() as opened:
        yield opened


@pytest.fixture
def now():
    return NOW


@pytest.fixture
def new_session():
    """A function that makes a session, without storing it."""
    numbers = count(1)

    def make(
        status="active",
        tenant="default",
        created_at=NOW,
        agent="agent",
        *,
        owner="me",
        agent_source=None,
    ):
        session_id = f"session-{next(numbers)}"
        session = Session(
            id=session_id,
            tenant_id=tenant,
            agent_name=agent,
            sandbox_id=session_id,
            status=status,
            created_at=created_at,
            last_active_at=created_at,
            agent_version=1,
        )
        return StoredSession(
            session=session,
            settings=SessionSettings(),
            agent_version=1,
            agent_source=agent_source,
            owner=owner,
        )

    return make


@pytest.fixture
def create(store, new_session):
    """A function that stores a new session and returns its id."""

    async def make(**given):
        stored = new_session(**given)
        await store.create_session(stored)
        return stored.session.id

    return make


@pytest.fixture
async def session_id(create):
    return await create()


@pytest.fixture
def begin(store):
    """A function that begins a turn of a session with plausible numbers, and returns its id."""

    async def begin(session_id, generation=1, start_frame=1, frames=100):
        return await store.begin_turn(
            session_id,
            generation,
            '{"type":"user","content":"hi"}',
            start_frame=start_frame,
            version="1",
            reserve_frames_to=frames,
            now=NOW,
        )

    return begin


@pytest.fixture
async def turn_id(session_id, begin):
    return await begin(session_id)


@pytest.fixture
def end_session(store):
    async def end(session_id):
        await store.change_session(session_id, CHANGES["end"], NOW)

    return end


@pytest.fixture
def other_program(tmp_path):
    """Another connection to the SQLite file, such as a backup's."""
    with closing(connect(tmp_path / "ash.db", isolation_level=None)) as connection:
        yield connection
