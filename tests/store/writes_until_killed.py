"""Appends to the store in argv[1] forever, and prints each number once it is committed."""

import sys
from itertools import count
from pathlib import Path

import trio

from ash.model import Session, SessionSettings, StoredSession
from ash.store import open_store
from ash.store.history import NewEvent, NewMessage


async def main(path):
    session = Session(
        id="session",
        tenant_id="default",
        agent_name="agent",
        sandbox_id="session",
        status="active",
        created_at="2026",
        last_active_at="2026",
    )
    stored = StoredSession(
        session=session, settings=SessionSettings(), agent_version=1, owner="killed"
    )
    async with open_store(path) as store, trio.open_nursery() as nursery:
        await store.create_session(stored)
        for turn in ("a", "b", "c"):
            await store.begin_turn(
                "session",
                1,
                '"0"',
                start_frame=1,
                version="1",
                reserve_frames_to=9,
                now="2026",
            )
            nursery.start_soon(append, store, turn)


async def append(store, turn):
    for number in count(1):
        said = [NewMessage(f'"{turn}{number}"', number), NewEvent("text", None)]
        await store.append("session", 1, said, now="2026")
        sys.stdout.write(f"{turn}{number}\n")
        sys.stdout.flush()


trio.run(main, Path(sys.argv[1]))
