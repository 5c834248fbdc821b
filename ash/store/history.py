"""Turns, and the messages and timeline events that they store.

Every unit first updates the session's row. That checks whether the writer still owns the session,
and locks the row, so that sequence numbers are given out one by one on any database.
"""

from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

from ash.model import (
    EventType,
    Message,
    Role,
    SessionEvent,
    StoredSession,
    TurnOrigin,
    TurnReason,
)
from ash.store.driver import Repository, Row, Statement, new_id
from ash.store.schema import load
from ash.store.sessions import StatusChange, add_event, change_status, stored_session

HISTORY_SQL = load("history")
SESSIONS = load("sessions")

# An SDK message as JSON, and the id of the last frame made of it.
NewMessage: TypeAlias = tuple[str, int]
# An event's type, and its data as JSON.
NewEvent: TypeAlias = tuple[EventType, str | None]


class OpenTurn(Struct, frozen=True):
    """A turn without an end. `error_frame` and the id after it are free for its last two frames."""

    id: str
    session_id: str
    generation: int
    error_frame: int


class HistoryRepository(Repository):
    async def begin_turn(
        self,
        turn_id: str,
        session_id: str,
        generation: int,
        content: str | None,
        *,
        start_frame: int,
        version: str,
        reserve_frames_to: int,
        now: str,
        origin: TurnOrigin | None = None,
    ) -> Message | None:
        """Stores the turn and the user's message, whose JSON is `content`.

        A turn with an `origin` has no such message, and None is returned. `version` is the version
        of ash that the turn's first frame shows. The caller may give out frame ids below
        `reserve_frames_to` from now on. Raises OwnershipLost if the session is not active or has
        another generation.
        """
        active = {
            "id": session_id,
            "generation": generation,
            "next_frame": reserve_frames_to,
            "now": now,
        }
        turn = {
            "id": turn_id,
            "session_id": session_id,
            "start_frame": start_frame,
            "version": version,
            "origin": origin,
            "now": now,
        }
        unit = [
            Statement(SESSIONS["advance_active_session"], active, expect=1),
            Statement(HISTORY_SQL["begin_turn"], turn),
        ]
        if content is None:
            await self._driver.write(unit)
            return None
        unit.append(_add_message(session_id, turn_id, "user", content, frame=None, now=now))
        (session,), _, (added,) = await self._driver.write(unit)
        return Message(
            id=added["id"],
            session_id=session_id,
            tenant_id=session["tenant_id"],
            role="user",
            content=content,
            sequence=added["sequence"],
            created_at=now,
        )

    async def append(
        self,
        session_id: str,
        turn_id: str,
        generation: int,
        *,
        messages: Iterable[NewMessage] = (),
        events: Iterable[NewEvent] = (),
        next_frame: int | None = None,
        conversation: str | None = None,
        now: str,
    ) -> None:
        """Stores the agent's messages and events, and the conversation's id if one is given.

        Raises OwnershipLost if the session has another generation.
        """
        unit = [_advance(session_id, generation, next_frame, now, conversation)]
        for content, frame in messages:
            unit.append(
                _add_message(session_id, turn_id, "assistant", content, frame=frame, now=now)
            )
        unit += [add_event(session_id, kind, data, now) for kind, data in events]
        await self._driver.write(unit)

    async def end_turn(
        self,
        turn_id: str,
        session_id: str,
        generation: int,
        reason: TurnReason,
        *,
        end_frame: int,
        now: str,
        error: str | None = None,
        error_frame: int | None = None,
        events: Iterable[NewEvent] = (),
        next_frame: int | None = None,
        status: StatusChange | None = None,
    ) -> StoredSession | None:
        """Stores the end of the turn and, with `status`, the change of its session in one unit.

        Returns the changed session, or None if it stays as it is. Raises OwnershipLost if the
        turn has ended, if the session has another generation, or if its status does not allow
        the change.
        """
        end = {
            "id": turn_id,
            "session_id": session_id,
            "reason": reason,
            "error": error,
            "end_frame": end_frame,
            "error_frame": error_frame,
            "now": now,
        }
        unit = [
            _advance(session_id, generation, next_frame, now),
            Statement(HISTORY_SQL["end_turn"], end, expect=1),
            *(add_event(session_id, kind, data, now) for kind, data in events),
        ]
        if status is None:
            await self._driver.write(unit)
            return None
        change = change_status(session_id, status, now, generation=generation)
        results = await self._driver.write([*unit, *change])
        return stored_session(results[len(unit)][0])

    async def add_event(self, session_id: str, kind: EventType, data: str | None, now: str) -> None:
        """Stores a timeline event. Raises OwnershipLost if there is no such session."""
        await self._driver.write(
            [_advance(session_id, None, None, now), add_event(session_id, kind, data, now)]
        )

    async def messages(
        self, tenant: str, session_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        """Oldest first; `after` is the sequence of the last one that the caller has."""
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        return await self._driver.fetch(HISTORY_SQL["messages"], params, _message)

    async def latest_messages(self, session_id: str, *, before: int, limit: int) -> list[Message]:
        """The messages before that sequence, newest first."""
        params = {"session_id": session_id, "before": before, "limit": limit}
        return await self._driver.fetch(HISTORY_SQL["latest_messages"], params, _message)

    async def finished_up_to(self, session_id: str) -> int:
        """The sequence of the last message of a finished turn, or 0."""
        params = {"session_id": session_id}
        return await self._driver.fetch_one(HISTORY_SQL["finished_up_to"], params, _last) or 0

    async def events(
        self,
        tenant: str,
        session_id: str,
        *,
        after: int = 0,
        limit: int = 200,
        kind: EventType | None = None,
    ) -> list[SessionEvent]:
        """Oldest first; `after` is the sequence of the last one that the caller has."""
        params = {
            "tenant": tenant,
            "session_id": session_id,
            "after": after,
            "limit": limit,
            "type": kind,
        }
        return await self._driver.fetch(HISTORY_SQL["events"], params, _event)

    async def open_turns(self, owner: str, session_id: str | None = None) -> list[OpenTurn]:
        """Turns without an end in the sessions of `owner`, the oldest of each session first."""
        params = {"owner": owner, "session_id": session_id}
        return await self._driver.fetch(HISTORY_SQL["open_turns"], params, _open_turn)


def _advance(
    session_id: str,
    generation: int | None,
    next_frame: int | None,
    now: str,
    conversation: str | None = None,
) -> Statement:
    params = {
        "id": session_id,
        "generation": generation,
        "next_frame": next_frame,
        "conversation": conversation,
        "now": now,
    }
    return Statement(SESSIONS["advance_session"], params, expect=1)


def _add_message(
    session_id: str, turn_id: str, role: Role, content: str, *, frame: int | None, now: str
) -> Statement:
    params = {
        "session_id": session_id,
        "id": new_id(),
        "turn_id": turn_id,
        "role": role,
        "content": content,
        "frame": frame,
        "now": now,
    }
    return Statement(HISTORY_SQL["add_message"], params)


def _message(row: Row) -> Message:
    return Message(
        id=row["id"],
        session_id=row["session_id"],
        tenant_id=row["tenant_id"],
        role=row["role"],
        content=row["content"],
        sequence=row["sequence"],
        created_at=row["created_at"],
    )


def _event(row: Row) -> SessionEvent:
    return SessionEvent(
        id=row["id"],
        session_id=row["session_id"],
        tenant_id=row["tenant_id"],
        type=row["type"],
        data=row["data"],
        sequence=row["sequence"],
        created_at=row["created_at"],
    )


def _open_turn(row: Row) -> OpenTurn:
    return OpenTurn(
        id=row["id"],
        session_id=row["session_id"],
        generation=row["generation"],
        error_frame=row["error_frame"],
    )


def _last(row: Row) -> int:
    last: int = row["last"]
    return last
