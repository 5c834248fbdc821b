"""What of sessions and agents is in a snapshot store, and how it comes back from there.

Secrets are not: an agent's and a session's environment, and a session's MCP servers, whose
headers and arguments often are some. What was left out is named when a session is taken over.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import trio
from msgspec import UNSET, Raw, Struct, structs

from ash import events
from ash.agents import agent_folder
from ash.clock import Clock, now_iso
from ash.data_dir import SANDBOXES, SESSIONS, TRANSFERS
from ash.errors import EngineFailed, NotFound, StartError, Unavailable
from ash.limits.amounts import MB
from ash.log import get_logger
from ash.model import Agent, Session, SessionSettings, StoredAgent, StoredSession
from ash.protocol import is_uuid
from ash.sandbox.sandbox import PoolKey, SandboxSpec
from ash.session_options import without_secrets
from ash.store import Store
from ash.workspaces.snapshots.snapshot_store import Manifest, StoreFailed, Subject
from ash.workspaces.snapshots.snapshots import Snapshots, SnapshotSource, Unusable
from ash.workspaces.snapshots.uploader import Uploader

log = get_logger()

# As in `Place`, and what an agent's one folder is called in its archive.
SESSION_TOPS, AGENT_TOPS = ("home", "workspace"), ("files",)

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,255}")


class SessionAbout(Struct, kw_only=True, rename="camel"):
    """A session's row, with the names of the settings that were left out of it."""

    session: Session
    settings: SessionSettings
    agent_version: int
    generation: int
    next_frame: int
    left_out: list[str]
    conversation: str | None = None


class AgentAbout(Struct, kw_only=True, rename="camel"):
    """An agent's row, and which of its copies this is."""

    agent: Agent
    copy: str
    left_out: list[str]


class SessionSnapshots:
    """Owns the uploader. Its methods raise Unavailable if the snapshot store can't be reached."""

    def __init__(
        self,
        store: Store,
        snapshots: Snapshots,
        data_dir: Path,
        *,
        clock: Clock,
        owner: str,
        disk_mb: int,
    ) -> None:
        """`disk_mb` is the most that a session may have; `owner` gets what is taken over."""
        self.uploader = Uploader(snapshots, self._source)
        self._store = store
        self._snapshots = snapshots
        self._data_dir = data_dir
        self._clock = clock
        self._owner = owner
        self._limit = disk_mb * MB
        self._adopting = trio.Lock()

    def session_changed(self, session: Session) -> None:
        """Its row, or what is kept of it on the disk."""
        self.uploader.add(Subject("sessions", session.tenant_id, session.id))

    def agent_changed(self, tenant: str, name: str) -> None:
        """Deployed or deleted: its backups follow."""
        self.uploader.add(Subject("agents", tenant, name))

    async def add_all(self) -> None:
        """All that is on this disk: what has a complete upload is found out one by one."""
        for name in await trio.to_thread.run_sync(_folders, self._kept()):
            if (stored := await self._store.session_by_id(name)) is not None:
                self.session_changed(stored.session)
        for agent in await self._store.all_agents():
            self.agent_changed(agent.agent.tenant_id, agent.agent.name)

    async def bring(self, spec: SandboxSpec, session_id: str) -> bool:
        """Brings what is missing on this disk: the agent's files, and what was kept of a session.

        Whether files of the session came. Raises EngineFailed if they are damaged.
        """
        key = spec.key
        limit = spec.limits.disk_mb * MB
        came = spec.restore and await self.bring_session(key.tenant, session_id, limit)
        if not await trio.to_thread.run_sync(spec.source.is_dir):
            try:
                await self._bring_agent(key, spec.source)
            except NotFound:
                # A session that has its own files goes on without those of its agent.
                if not (spec.restore and await trio.to_thread.run_sync(self._has, session_id)):
                    raise
        return came

    async def bring_session(self, tenant: str, session_id: str, limit: int | None = None) -> bool:
        """What was kept of a session, `limit` bytes at most, if nothing of it is on this disk.

        Whether files came. Raises EngineFailed if they are damaged.
        """
        if await trio.to_thread.run_sync(self._has, session_id):
            return False
        target = self._kept() / session_id
        subject = Subject("sessions", tenant, session_id)
        limit = self._limit if limit is None else limit
        return await self._restored(subject, target, SESSION_TOPS, limit) is not None

    async def adopt(self, tenant: str, session_id: str) -> StoredSession | None:
        """A session that this daemon doesn't know, from its newest backup; None if there is none.

        Another tenant's is none. It can be resumed then, if it had not ended.
        """
        if not is_uuid(session_id):
            return None
        async with self._adopting:
            if (known := await self._store.session_by_id(session_id)) is not None:
                return known if known.session.tenant_id == tenant else None
            subject = Subject("sessions", tenant, session_id)
            about = _session_about(await self._newest(subject), subject)
            return None if about is None else await self._take_over(about)

    async def agent(self, tenant: str, name: str) -> StoredAgent | None:
        """An agent that this daemon doesn't know, with its files, from its newest backup."""
        if not _NAME.fullmatch(name):
            return None
        async with self._adopting:
            if (known := await self._store.agent(tenant, name)) is not None:
                return known
            copy = agent_folder(self._data_dir, tenant, name) / str(uuid4())
            subject = Subject("agents", tenant, name)
            manifest = await self._restored(subject, copy, AGENT_TOPS, self._limit)
            if manifest is None:
                return None
            about = msgspec.json.decode(manifest.about, type=AgentAbout)
            log.warning("agent.adopted", tenant=tenant, name=name, left_out=about.left_out)
            adopted = await self._store.deploy_agent(
                tenant,
                name,
                path=str(copy),
                source=str(copy),
                description=about.agent.description or None,
                model=about.agent.model or None,
                config=about.agent.config or None,
                now=now_iso(self._clock),
            )
            self.agent_changed(tenant, name)
            return adopted

    async def _take_over(self, about: SessionAbout) -> StoredSession:
        session, now = about.session, now_iso(self._clock)
        if session.status in {"starting", "active"}:
            session.status = "paused"
        session.runner_id = None
        session.agent_version = about.agent_version
        stored = StoredSession(
            session=session,
            settings=without_secrets(about.settings)[0],
            agent_version=about.agent_version,
            owner=self._owner,
            generation=about.generation + 1,
            next_frame=about.next_frame,
            conversation=about.conversation,
        )
        more = {"leftOut": ", ".join(about.left_out)} if about.left_out else {}
        await self._store.create_session(
            stored, events.lifecycle("adopted", source="cloud", **more)
        )
        if about.left_out:
            text = f"taken over from its backup, which does not hold {more['leftOut']}"
            await self._store.append_logs(session.id, [("system", text, now)])
        log.info("session.adopted", session=session.id, tenant=session.tenant_id)
        return stored

    async def _bring_agent(self, key: PoolKey, source: Path) -> None:
        """Only the very copy: another version is another agent."""
        subject = Subject("agents", key.tenant, key.agent)
        manifest = await self._newest(subject)
        about = msgspec.json.decode(manifest.about, type=AgentAbout) if manifest else None
        if about is None or about.copy != source.name:
            raise NotFound(f'The files of the agent "{key.agent}" are gone: deploy it again')
        await self._restored(subject, source, AGENT_TOPS, self._limit)

    async def _newest(self, subject: Subject) -> Manifest | None:
        try:
            return await self._snapshots.newest(subject)
        except StoreFailed as error:
            raise _unreachable(error) from None

    async def _restored(
        self, subject: Subject, target: Path, tops: tuple[str, ...], limit: int
    ) -> Manifest | None:
        try:
            return await self._snapshots.restore(subject, target, tops, limit)
        except StoreFailed as error:
            raise _unreachable(error) from None
        except Unusable:
            raise EngineFailed("Its backups are damaged: see the server's log") from None

    async def _source(self, subject: Subject) -> SnapshotSource | None:
        """What there is to upload, as the database has it now."""
        if subject.kind == "agents":
            agent = await self._store.agent(subject.tenant, subject.name)
            return None if agent is None else self._agent_source(agent)
        stored = await self._store.session(subject.tenant, subject.name)
        return None if stored is None else self._session_source(stored)

    def _session_source(self, stored: StoredSession) -> SnapshotSource:
        settings, left_out = without_secrets(stored.settings)
        about = SessionAbout(
            session=stored.session,
            settings=settings,
            agent_version=stored.agent_version,
            generation=stored.generation,
            next_frame=stored.next_frame,
            left_out=left_out,
            conversation=stored.conversation,
        )
        kept = self._kept() / stored.session.id
        tops = {name: kept / name for name in SESSION_TOPS}
        return SnapshotSource(tops=tops, limit=self._limit, lean=True, about=_raw(about))

    def _agent_source(self, stored: StoredAgent) -> SnapshotSource:
        source = Path(stored.source)
        about = AgentAbout(
            agent=structs.replace(stored.agent, env=UNSET),
            copy=source.name,
            left_out=["env"] if stored.env else [],
        )
        return SnapshotSource(
            tops={"files": source}, limit=self._limit, lean=False, about=_raw(about)
        )

    def _has(self, session_id: str) -> bool:
        """Whether files of the session are on this disk."""
        return any(
            (folder / session_id).is_dir() for folder in (self._kept(), self._data_dir / SANDBOXES)
        )

    def _kept(self) -> Path:
        return self._data_dir / SESSIONS


def _session_about(manifest: Manifest | None, subject: Subject) -> SessionAbout | None:
    if manifest is None:
        return None
    about = msgspec.json.decode(manifest.about, type=SessionAbout)
    mine = (about.session.tenant_id, about.session.id) == (subject.tenant, subject.name)
    return about if mine else None


def _unreachable(error: StoreFailed) -> Unavailable:
    log.warning("snapshot.fetch_failed", why=str(error))
    return Unavailable("The snapshot store can't be reached: try again later")


def _raw(about: Struct) -> Raw:
    return Raw(msgspec.json.encode(about))


def _folders(parent: Path) -> list[str]:
    return [path.name for path in parent.iterdir()] if parent.is_dir() else []


@asynccontextmanager
async def open_session_snapshots(
    url: str | None, store: Store, data_dir: Path, clock: Clock, *, owner: str, disk_mb: int
) -> AsyncIterator[SessionSnapshots | None]:
    """None without a URL. Raises StartError for one that can't be used.

    Whether the store answers is not asked: without it sessions run as well.
    """
    if url is None:
        yield None
        return
    try:
        from ash.workspaces.snapshots import object_store
    except ImportError:
        raise StartError(
            'snapshot_url needs two more packages: install "ashd[snapshots]"'
        ) from None
    try:
        opened = object_store.connect(url)
    except StoreFailed as error:
        raise StartError(f"snapshot_url: {error}") from None
    async with object_store.running(opened) as opened_store:
        snapshots = Snapshots(opened_store, data_dir / TRANSFERS, clock.now)
        yield SessionSnapshots(
            store, snapshots, data_dir, clock=clock, owner=owner, disk_mb=disk_mb
        )
