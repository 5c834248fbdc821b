"""A turn on its own: a real store, a sandbox that the test speaks for, a clock it moves."""

import json
import sqlite3
from contextlib import closing, suppress

import pytest
from msgspec import Raw

from ash.model import Session, SessionSettings, StoredSession
from ash.protocol import EngineMessage, Query, TurnDone
from ash.sessions.frame_ring import FrameRing, Lagged, RingBroken
from ash.sessions.turn import Turn, TurnContext
from ash.store import open_store
from tests.support.sandbox import FakeSandboxProcess, serving

SESSION = "5e551017-0000-4000-8000-000000000000"


class FixedClock:
    def now(self):
        return 1e9


class Spy:
    """The store, where a test can hold a write, let it fail, or see what was asked."""

    def __init__(self, store):
        self._store = store
        self.asked = []
        self.failing = {}
        self.gates = {}

    def __getattr__(self, name):
        method = getattr(self._store, name)

        async def spied(*args, **kwargs):
            self.asked.append(name)
            if name in self.gates:
                await self.gates[name].wait()
            if name in self.failing:
                raise self.failing[name]
            return await method(*args, **kwargs)

        return spied


class Scene:
    """One session, and the turn that runs in it."""

    def __init__(self, store, path, stored, nursery):
        self.store = Spy(store)
        self.stored = stored
        self.ring = FrameRing(stored.next_frame)
        self.sandbox = FakeSandboxProcess()
        self.silence_timeout = 0.0
        self.recovered = []
        self._path = path
        self.nursery = nursery

    def begin(self, prompt=b'"hi"'):
        """A turn that runs; its sandbox is a new one."""
        self.sandbox = FakeSandboxProcess()
        query = Query(prompt=Raw(prompt), session_id=SESSION)
        context = TurnContext(
            self.stored,
            self.ring,
            self.store,
            FixedClock(),
            self.silence_timeout,
            self.end,
            self.recovered,
        )
        turn = Turn(context, self.sandbox, query)
        self.nursery.start_soon(self._run, turn, self.sandbox)
        return turn

    async def _run(self, turn, sandbox):
        async with serving(sandbox), sandbox.link.turn() as batches:
            await turn.run(batches)

    async def end(self, turn, write):
        await write(None)

    async def accepted(self, prompt=b'"hi"'):
        turn = self.begin(prompt)
        await turn.accepted()
        return turn

    async def show(self, *batch):
        """The agent says this; returns when it is shown, be it that the ring forgot it at once."""
        cursor = self.ring.next_id
        await self.sandbox.say(*batch)
        with suppress(Lagged):
            await self.ring.read(cursor)

    async def shown(self, turn):
        """The turn's frames up to its last one, or `cut` where followers are."""
        frames, cursor = [], turn.first_frame
        while turn.last_frame is None or cursor <= turn.last_frame:
            try:
                (data,), cursor = await self.ring.read(cursor, cursor + 1)
            except RingBroken:
                return [*frames, "cut"]
            lines = data.decode().split("\n")
            frames.append((lines[1].removeprefix("event: "), json.loads(lines[2][6:])))
        return frames

    async def shown_now(self):
        """What can be read without waiting, as text."""
        written, cursor = b"", self.ring.earliest
        while cursor < self.ring.next_id:
            data, cursor = await self.ring.read(cursor)
            written += b"".join(data)
        return written.decode()

    async def timeline(self):
        """The type and data of each event of the timeline."""
        return [(e.type, e.data) for e in await self.store.events("default", SESSION)]

    def rows(self, query):
        """What the database has, read beside the store."""
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
async def scene(tmp_path, nursery, mock_clock):
    path = tmp_path / "ash.db"
    session = Session(
        id=SESSION,
        tenant_id="default",
        agent_name="agent",
        sandbox_id=SESSION,
        status="active",
        created_at="2026-01-02T03:04:05.678Z",
        last_active_at="2026-01-02T03:04:05.678Z",
    )
    stored = StoredSession(
        session=session, settings=SessionSettings(), agent_version=1, owner="me", next_frame=7
    )
    async with open_store(path) as store:
        await store.create_session(stored)
        yield Scene(store, path, stored, nursery)


def message(raw):
    return EngineMessage(Raw(raw))


@pytest.fixture
def text():
    return message(b'{"type":"assistant","message":{"content":[{"type":"text","text":"yes"}]}}')


@pytest.fixture
def delta():
    return message(b'{"type":"stream_event","event":{"delta":{"type":"text_delta","text":"y"}}}')


@pytest.fixture
def result():
    return message(b'{"type":"result","subtype":"success","num_turns":1,"result":"yes"}')


@pytest.fixture
def end():
    return TurnDone(SESSION)
