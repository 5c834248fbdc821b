"""What a start repairs after a daemon was killed."""

import os

import pytest

from ash.agent_files.sent_files import SentFile
from ash.agents import Agents, Deployment
from ash.model import Session, SessionSettings, StoredSession
from ash.recovery import KEEP_SECONDS, recover
from ash.store import open_store

NOW = "2026-01-02T03:04:05.678Z"


class FixedClock:
    def now(self):
        return 1e9


class DataDirectory:
    """A data directory, and the database that goes with it."""

    def __init__(self, data_dir, store):
        self.path = data_dir
        self.store = store

    async def recover(self):
        await recover(self.store, self.path, "me", FixedClock())

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
        folder = self.path / path
        folder.mkdir(parents=True)
        (folder / "file").touch()
        os.utime(folder, (1e9 - age, 1e9 - age))

    def names(self, path):
        return sorted(found.name for found in (self.path / path).iterdir())


@pytest.fixture
async def data(tmp_path):
    async with open_store(tmp_path / "ash.db") as store:
        yield DataDirectory(tmp_path, store)


async def test_folders_of_sessions_stay(data):
    """Folders of sessions are kept, however old, also of ended sessions."""
    await data.session("ours")
    data.folder("sessions/ours", age=10 * KEEP_SECONDS)
    await data.recover()
    assert ["ours"] == data.names("sessions")


async def test_fork_that_was_cut_off_is_removed(data):
    """An incomplete fork is removed."""
    data.folder("sessions/fork.new")
    await data.recover()
    assert [] == data.names("sessions")


async def test_folder_of_no_session_is_removed_after_a_week(data):
    """A folder of an unknown session stays for a week, as the database may be an old copy."""
    data.folder("sessions/recent", age=KEEP_SECONDS - 1)
    data.folder("sessions/old", age=KEEP_SECONDS + 1)
    await data.recover()
    assert ["recent"] == data.names("sessions")


async def test_sandboxes_are_put_away(data):
    """Folders of sessions are kept; those of other sandboxes and incomplete ones are removed."""
    await data.session("ours")
    for name in ("ours", "warm", "other.new"):
        data.folder(f"sandboxes/{name}")
    await data.recover()
    assert ([], ["ours"]) == (data.names("sandboxes"), data.names("sessions"))


async def test_old_copies_of_an_agent_are_removed(data):
    """Only the copy that the agent runs from stays."""
    agents = Agents(data.store, data.path, FixedClock(), lambda _: None, lambda *_: None)
    for text in (b"first", b"second"):
        await agents.deploy_files("default", "a", [SentFile("CLAUDE.md", text)], Deployment())
    data.folder("agents/default/a/half")
    await data.recover()
    (copy,) = (data.path / "agents" / "default" / "a").iterdir()
    assert b"second" == (copy / "CLAUDE.md").read_bytes()


async def test_copies_stay_where_the_one_in_use_is_gone(data):
    """If the copy in use is missing, the other copies stay."""
    source = str(data.path / "agents" / "default" / "a" / "gone")
    await data.store.deploy_agent("default", "a", path=source, source=source, now=NOW)
    data.folder("agents/default/a/other")
    await data.recover()
    assert ["other"] == data.names("agents/default/a")


async def test_copies_of_no_agent_are_removed_after_a_week(data):
    """Copies of an unknown agent stay for a week."""
    data.folder("agents/default/gone/copy", age=KEEP_SECONDS + 1)
    data.folder("agents/default/recent/copy", age=KEEP_SECONDS - 1)
    await data.recover()
    assert ["recent"] == data.names("agents/default")


async def test_half_written_files_are_removed(data):
    """Files that were being packed and half-written secrets are removed."""
    data.folder("transfers/one")
    for name in (".initial-api-key.1234abcd", ".key-secret.1234abcd", "key-secret"):
        (data.path / name).touch()
    await data.recover()
    assert ["ash.db", "ash.db-shm", "ash.db-wal", "key-secret"] == data.names(".")


async def test_empty_data_directory_is_fine(data):
    """A first start repairs nothing and makes nothing."""
    await data.recover()
    assert ["ash.db", "ash.db-shm", "ash.db-wal"] == data.names(".")
