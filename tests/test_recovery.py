"""What a start does with what an earlier process left."""

import os

import pytest

from ash.agents import Agents, Deployment
from ash.model import Session, SessionSettings, StoredSession
from ash.recovery import KEEP_SECONDS, recover
from ash.store import open_store

NOW = "2026-01-02T03:04:05.678Z"


class FixedClock:
    def now(self):
        return 1e9


class House:
    """A data directory, and the database that goes with it."""

    def __init__(self, data_dir, store):
        self.data_dir = data_dir
        self.store = store

    async def recover(self):
        await recover(self.store, self.data_dir, "me", FixedClock())

    async def session(self, name):
        session = Session(
            id=name,
            tenant_id="default",
            agent_name="agent",
            sandbox_id=name,
            status="ended",
            created_at=NOW,
            last_active_at=NOW,
        )
        stored = StoredSession(
            session=session, settings=SessionSettings(), agent_version=1, owner="me"
        )
        await self.store.create_session(stored)

    def folder(self, path, *, age=0.0):
        folder = self.data_dir / path
        folder.mkdir(parents=True)
        (folder / "file").touch()
        os.utime(folder, (1e9 - age, 1e9 - age))

    def names(self, path):
        return sorted(found.name for found in (self.data_dir / path).iterdir())


@pytest.fixture
async def house(tmp_path):
    async with open_store(tmp_path / "ash.db") as store:
        yield House(tmp_path, store)


async def test_folders_of_sessions_stay(house):
    """However old they are, and of those that have ended, too."""
    await house.session("ours")
    house.folder("sessions/ours", age=10 * KEEP_SECONDS)
    await house.settle()
    assert ["ours"] == house.names("sessions")


async def test_fork_that_was_cut_off_is_removed(house):
    """It is half a session, and nobody has been told of it."""
    house.folder("sessions/fork.new")
    await house.settle()
    assert [] == house.names("sessions")


async def test_folder_of_no_session_is_removed_after_a_week(house):
    """An older copy of the database may not know it yet: there is time to notice."""
    house.folder("sessions/recent", age=KEEP_SECONDS - 1)
    house.folder("sessions/old", age=KEEP_SECONDS + 1)
    await house.settle()
    assert ["recent"] == house.names("sessions")


async def test_sandboxes_are_put_away(house):
    """Those of sessions are kept; the others, and those that were being made, are nobody's."""
    await house.session("ours")
    for name in ("ours", "warm", "other.new"):
        house.folder(f"sandboxes/{name}")
    await house.settle()
    assert ([], ["ours"]) == (house.names("sandboxes"), house.names("sessions"))


async def test_old_copies_of_an_agent_are_removed(house):
    """So is one that was being made; the one it runs from stays."""
    agents = Agents(house.store, house.data_dir, FixedClock(), lambda _: None, lambda *_: None)
    for text in (b"first", b"second"):
        await agents.deploy_files("default", "a", {"CLAUDE.md": text}, Deployment())
    house.folder("agents/default/a/half")
    await house.settle()
    (copy,) = (house.data_dir / "agents" / "default" / "a").iterdir()
    assert b"second" == (copy / "CLAUDE.md").read_bytes()


async def test_copies_stay_where_the_one_in_use_is_gone(house):
    """An older copy of the database names one that is gone: these may be all there is."""
    source = str(house.data_dir / "agents" / "default" / "a" / "gone")
    await house.store.deploy_agent("default", "a", path=source, source=source, now=NOW)
    house.folder("agents/default/a/other")
    await house.settle()
    assert ["other"] == house.names("agents/default/a")


async def test_copies_of_no_agent_are_removed_after_a_week(house):
    """What a deleted agent left, as its disk took no writes, or a deploy that was cut off."""
    house.folder("agents/default/gone/copy", age=KEEP_SECONDS + 1)
    house.folder("agents/default/recent/copy", age=KEEP_SECONDS - 1)
    await house.settle()
    assert ["recent"] == house.names("agents/default")


async def test_what_was_half_done_is_removed(house):
    """What was packed or unpacked, and secrets that were being written."""
    house.folder("transfers/one")
    for name in (".initial-api-key.1234abcd", ".key-secret.1234abcd", "key-secret"):
        (house.data_dir / name).touch()
    await house.settle()
    assert ["ash.db", "ash.db-shm", "ash.db-wal", "key-secret"] == house.names(".")


async def test_empty_data_directory_is_fine(house):
    """A first start has nothing to put right, and makes nothing."""
    await house.settle()
    assert ["ash.db", "ash.db-shm", "ash.db-wal"] == house.names(".")
