"""Sessions, their settings and their status."""

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import Struct

from ash.lifecycle import Change
from ash.model import (
    EventType,
    Session,
    SessionSettings,
    SessionStatus,
    StoredSession,
    TurnOrigin,
)
from ash.store.driver import OwnershipLost, Repository, Row, Statement, from_json, to_json
from ash.store.schema import load

SESSIONS_SQL = load("sessions")
HISTORY = load("history")

RowKind: TypeAlias = Literal["begin", "message", "copy", "event", "end"]

_settings = msgspec.json.Decoder(SessionSettings).decode


class StatusChange(Struct, frozen=True):
    """A change of a session's status, and the data of the lifecycle event that tells of it."""

    change: Change
    event: str | None = None


class SessionRepository(Repository):
    async def create_session(self, stored: StoredSession, event: str | None = None) -> None:
        """Stores a session; `event` is the data of its first timeline event, of type lifecycle."""
        session = stored.session
        unit = [Statement(SESSIONS_SQL["create_session"], _params(stored))]
        if event is not None:
            unit.append(add_event(session.id, "lifecycle", event, session.created_at))
        await self._driver.write(unit)

    async def fork_session(
        self, stored: StoredSession, parent_id: str, upto: int, event: str
    ) -> None:
        """Stores a session with copies of its parent's messages; the copies have no frames."""
        session = stored.session
        copied = {"fork_id": session.id, "session_id": parent_id, "upto": upto}
        unit = [
            Statement(SESSIONS_SQL["create_session"], _params(stored)),
            Statement(HISTORY["copy_messages"], copied),
            add_event(session.id, "lifecycle", event, session.created_at),
        ]
        await self._driver.write(unit)

    async def session(self, tenant: str, session_id: str) -> StoredSession | None:
        params = {"tenant": tenant, "id": session_id}
        return await self._driver.fetch_one(SESSIONS_SQL["session"], params, stored_session)

    async def session_by_id(self, session_id: str) -> StoredSession | None:
        """A session of any tenant; only for the daemon itself, never for a client."""
        return await self._driver.fetch_one(
            SESSIONS_SQL["session_by_id"], {"id": session_id}, stored_session
        )

    async def sessions(
        self,
        tenant: str,
        *,
        agent: str | None = None,
        status: SessionStatus | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[list[Session], int]:
        """One page of sessions, newest first, and the number of sessions on all pages."""
        matching = {"tenant": tenant, "agent": agent, "status": status}
        page = {**matching, "limit": limit, "offset": offset}
        found = await self._driver.fetch(SESSIONS_SQL["sessions"], page, _session)
        (total,) = await self._driver.fetch(SESSIONS_SQL["count_sessions"], matching, _total)
        return found, total

    async def change_session(
        self,
        session_id: str,
        change: Change,
        now: str,
        *,
        event: str | None = None,
        generation: int | None = None,
        new_generation: bool = False,
    ) -> StoredSession | None:
        """The changed session, or None if its status or generation did not allow the change.

        `event` is the data of a lifecycle event that is stored with the change. `generation`, if
        given, must be the session's. `new_generation` locks out whoever holds the old one.
        """
        unit = change_status(
            session_id,
            StatusChange(change, event),
            now,
            generation=generation,
            new_generation=new_generation,
        )
        try:
            changed, *_ = await self._driver.write(unit)
        except OwnershipLost:
            return None
        return stored_session(changed[0])

    async def configure_session(
        self, session_id: str, *, model: str | None, config: dict[str, Any] | None
    ) -> None:
        """Replaces the settings that a session's owner may change."""
        params = {"id": session_id, "model": model, "config": to_json(config)}
        await self._driver.write([Statement(SESSIONS_SQL["configure_session"], params)])

    async def running_sessions(self, owner: str) -> list[StoredSession]:
        """The sessions of `owner` with a status that says they run."""
        return await self._driver.fetch(
            SESSIONS_SQL["running_sessions"], {"owner": owner}, stored_session
        )


def change_status(
    session_id: str,
    status: StatusChange,
    now: str,
    *,
    generation: int | None,
    new_generation: bool = False,
) -> list[Statement]:
    """For a unit: its first statement returns the changed row, or the unit is not written."""
    params = {
        "id": session_id,
        "sources": f" {' '.join(status.change.sources)} ",
        "target": status.change.target,
        "generation": generation,
        "bump": int(new_generation),
        "now": now,
    }
    unit = [Statement(SESSIONS_SQL["change_session"], params, expect=1)]
    if status.event is not None:
        unit.append(add_event(session_id, "lifecycle", status.event, now))
    return unit


def add_row(
    session_id: str,
    kind: RowKind,
    now: str,
    *,
    label: str | None = None,
    content: str | memoryview | None = None,
    origin: TurnOrigin | None = None,
    frame: int | None = None,
    messages: int = 0,
    events: int = 0,
    generation: int | None = None,
    status: SessionStatus | None = None,
) -> Statement:
    """For a unit: a row of the session's history, which has so many messages and events in it."""
    params = {
        "session_id": session_id,
        "kind": kind,
        "now": now,
        "label": label,
        "content": content,
        "origin": origin,
        "frame": frame,
        "messages": messages,
        "events": events,
        "generation": generation,
        "status": status,
    }
    return Statement(HISTORY["add_row"], params, expect=1)


def add_event(
    session_id: str, kind: EventType, data: str | None, now: str, generation: int | None = None
) -> Statement:
    """For a unit: an event of the timeline alone."""
    return add_row(
        session_id, "event", now, label=kind, content=data, events=1, generation=generation
    )


def _params(stored: StoredSession) -> dict[str, object]:
    session = stored.session
    return {
        "id": session.id,
        "tenant": session.tenant_id,
        "agent_name": session.agent_name,
        "agent_version": stored.agent_version,
        "agent_source": stored.agent_source,
        "sandbox_id": session.sandbox_id,
        "status": session.status,
        "runner_id": session.runner_id,
        "parent_session_id": session.parent_session_id,
        "model": session.model,
        "config": to_json(session.config),
        "settings": to_json(stored.settings),
        "owner": stored.owner,
        "generation": stored.generation,
        "next_frame": stored.next_frame,
        "conversation": stored.conversation,
        "created_at": session.created_at,
        "last_active_at": session.last_active_at,
    }


def stored_session(row: Row) -> StoredSession:
    return StoredSession(
        session=_session(row),
        settings=_settings(row["settings"]),
        agent_version=row["agent_version"],
        agent_source=row["agent_source"],
        owner=row["owner"],
        generation=row["generation"],
        next_frame=row["next_frame"],
        conversation=row["conversation"],
    )


def _session(row: Row) -> Session:
    return Session(
        id=row["id"],
        tenant_id=row["tenant_id"],
        agent_name=row["agent_name"],
        agent_version=row["agent_version"],
        sandbox_id=row["sandbox_id"],
        status=row["status"],
        created_at=row["created_at"],
        last_active_at=max(row["last_active_at"], row["last_written_at"]),
        runner_id=row["runner_id"],
        parent_session_id=row["parent_session_id"],
        model=row["model"],
        config=from_json(row["config"]),
    )


def _total(row: Row) -> int:
    total: int = row["total"]
    return total
