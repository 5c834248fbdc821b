"""The history of sessions: turns, the messages of both sides, and the timeline.

All of it is one sequence of rows per session. A row says how many messages and timeline events the
session has up to there, and the last frame, so that the same row serves every numbering. Timeline
events that follow from a message are not stored: they are read out of it again.

The first row of a unit checks whether the writer still owns the session.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeAlias, TypeVar

from msgspec import Struct

from ash import events
from ash.model import (
    EventType,
    Message,
    Role,
    SessionEvent,
    StoredSession,
    TurnOrigin,
    TurnReason,
)
from ash.store.driver import Repository, Row, Statement
from ash.store.schema import load
from ash.store.sessions import StatusChange, add_event, add_row, change_status, stored_session
from ash.timeline import timeline

T = TypeVar("T")

HISTORY_SQL = load("history")
SESSIONS = load("sessions")

# How many rows are read at once to find timeline events in them.
PAGE = 100

# How many bytes of messages are read at once.
PAGE_BYTES = 4 * 1024 * 1024


class NewMessage(Struct, frozen=True):
    """An SDK message as JSON, the id of the last frame made of it, and its timeline events.

    A large one is given as it came, as UTF-8: each copy of it takes time of the event loop.
    """

    content: str | memoryview
    frame: int
    events: int = 0


class NewEvent(Struct, frozen=True):
    """An event of the timeline alone, and its data as JSON."""

    type: EventType
    data: str | None


NewEntry: TypeAlias = NewMessage | NewEvent


class TurnEnd(Struct, frozen=True):
    """How a turn ended, and the id of its last frame. An `error` has the frame before it."""

    reason: TurnReason
    frame: int
    error: str | None = None


class OpenTurn(Struct, frozen=True):
    """A turn without an end. `error_frame` and the id after it are free for its last two frames."""

    id: int
    session_id: str
    generation: int
    error_frame: int


class HistoryRepository(Repository):
    async def begin_turn(
        self,
        session_id: str,
        generation: int,
        content: str | None,
        *,
        start_frame: int,
        version: str,
        reserve_frames_to: int | None,
        now: str,
        origin: TurnOrigin | None = None,
    ) -> int:
        """Stores the begin of a turn with the user's message, whose JSON is `content`.

        Returns the turn's id. A turn with an `origin` has no message. `version` is the version of
        ash that the turn's first frame shows. The caller may give out frame ids below
        `reserve_frames_to` from now on, if that is given. Raises OwnershipLost if the session is
        not active or has another generation.
        """
        begun = add_row(
            session_id,
            "begin",
            now,
            label=version,
            content=content,
            origin=origin,
            frame=start_frame,
            messages=int(content is not None),
            generation=generation,
            status="active",
        )
        unit = [begun, Statement(HISTORY_SQL["open_turn"], {"session_id": session_id})]
        unit += _noted(session_id, generation, reserve_frames_to, None)
        (row,), *_ = await self._driver.write(unit)
        turn: int = row["key"]
        return turn

    async def append(
        self,
        session_id: str,
        generation: int,
        entries: Iterable[NewEntry] = (),
        *,
        next_frame: int | None = None,
        conversation: str | None = None,
        now: str,
    ) -> None:
        """Stores the agent's messages and events, and the conversation's id if one is given.

        Raises OwnershipLost if the session has another generation.
        """
        unit = _rows(session_id, generation, entries, now)
        unit += _noted(session_id, generation, next_frame, conversation)
        await self._driver.write(unit)

    async def end_turn(
        self,
        turn: int,
        session_id: str,
        generation: int,
        end: TurnEnd,
        *,
        entries: Iterable[NewEntry] = (),
        next_frame: int | None = None,
        conversation: str | None = None,
        now: str,
        status: StatusChange | None = None,
    ) -> StoredSession | None:
        """Stores the end of the turn behind `entries`, its last messages and events, in one unit.

        With `status` the unit has the change of its session, too. Returns the changed session, or
        None if it stays as it is. Raises OwnershipLost if the turn has ended, if the session has
        another generation, or if its status does not allow the change.
        """
        ended = add_row(
            session_id,
            "end",
            now,
            label=end.reason,
            content=end.error,
            frame=end.frame,
            events=int(end.error is not None),
            generation=generation,
        )
        unit = [
            Statement(HISTORY_SQL["close_turn"], {"turn": turn}, expect=1),
            *_rows(session_id, generation, entries, now),
            ended,
            *_noted(session_id, generation, next_frame, conversation),
        ]
        if status is None:
            await self._driver.write(unit)
            return None
        change = change_status(session_id, status, now, generation=generation)
        results = await self._driver.write([*unit, *change])
        return stored_session(results[len(unit)][0])

    async def add_event(self, session_id: str, kind: EventType, data: str | None, now: str) -> None:
        """Stores a timeline event. Raises OwnershipLost if there is no such session."""
        await self._driver.write([add_event(session_id, kind, data, now)])

    async def messages(
        self, tenant: str, session_id: str, *, after: int = 0, limit: int = 100
    ) -> list[Message]:
        """Oldest first; `after` is the sequence of the last one that the caller has.

        Ends after the first with which they have PAGE_BYTES or more: see `is_cut`.
        """
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        query = HISTORY_SQL["messages"]
        return await self._driver.fetch(query, params, _message, _Page(_message_size))

    async def latest_messages(self, session_id: str, *, before: int, limit: int) -> list[Message]:
        """The messages before that sequence, newest first; they end as `messages` do."""
        params = {"session_id": session_id, "after": before - 1, "limit": limit}
        query = HISTORY_SQL["latest_messages"]
        return await self._driver.fetch(query, params, _message, _Page(_message_size))

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
        found: list[SessionEvent] = []
        while len(found) < limit:
            params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": PAGE}
            query = HISTORY_SQL["rows_with_events"]
            page = _Page(_events_size)
            rows = await self._driver.fetch(query, params, _timeline, page)
            events = [event for row in rows for event in row]
            found += [e for e in events if e.sequence > after and kind in (None, e.type)]
            is_last = len(rows) < PAGE and not page.is_full
            if is_last or not events or events[-1].sequence <= after:
                break
            after = events[-1].sequence
        return found[:limit]

    async def open_turns(self, owner: str, session_id: str | None = None) -> list[OpenTurn]:
        """Turns without an end in the sessions of `owner`, the oldest of each session first."""
        params = {"owner": owner, "session_id": session_id}
        return await self._driver.fetch(HISTORY_SQL["open_turns"], params, _open_turn)


def is_cut(messages: Sequence[Message]) -> bool:
    """Whether a page ended because of its bytes, so that there may be more."""
    return sum(len(message.content) for message in messages) >= PAGE_BYTES


class _Page(Generic[T]):
    """Is true for the item with which a page of PAGE_BYTES is full; `size` is that of an item."""

    def __init__(self, size: Callable[[T], int]) -> None:
        self._size = size
        self._room = PAGE_BYTES

    @property
    def is_full(self) -> bool:
        return self._room <= 0

    def __call__(self, item: T) -> bool:
        self._room -= self._size(item)
        return self.is_full


def _message_size(message: Message) -> int:
    return len(message.content)


def _events_size(row: Sequence[SessionEvent]) -> int:
    return sum(len(event.data or "") for event in row)


def _rows(
    session_id: str, generation: int, entries: Iterable[NewEntry], now: str
) -> list[Statement]:
    return [
        add_row(
            session_id,
            "message",
            now,
            content=entry.content,
            frame=entry.frame,
            messages=1,
            events=entry.events,
            generation=generation,
        )
        if isinstance(entry, NewMessage)
        else add_event(session_id, entry.type, entry.data, now, generation)
        for entry in entries
    ]


def _noted(
    session_id: str, generation: int, next_frame: int | None, conversation: str | None
) -> Iterator[Statement]:
    """The changes of the session's own row, which most units don't need."""
    session = {"id": session_id, "generation": generation}
    if next_frame is not None:
        reserved = {**session, "next_frame": next_frame}
        yield Statement(SESSIONS["reserve_frames"], reserved, expect=1)
    if conversation is not None:
        yield Statement(SESSIONS["follow_conversation"], {**session, "conversation": conversation})


_ROLES: dict[str, Role] = {"begin": "user", "message": "assistant"}


def _message(row: Row) -> Message:
    sequence = row["messages"]
    return Message(
        id=row["id"] or _derived_id(row["session_id"], "a", sequence),
        session_id=row["session_id"],
        tenant_id=row["tenant_id"],
        role=_ROLES.get(row["kind"], row["label"]),
        content=row["content"],
        sequence=sequence,
        created_at=row["created_at"],
    )


def _timeline(row: Row) -> list[SessionEvent]:
    """The timeline events of a row, in their order. It has `added` of them."""
    first = row["events"] - row["added"] + 1
    return [
        SessionEvent(
            id=row["id"] or _derived_id(row["session_id"], "e", sequence),
            session_id=row["session_id"],
            tenant_id=row["tenant_id"],
            type=kind,
            data=data,
            sequence=sequence,
            created_at=row["created_at"],
        )
        for sequence, (kind, data) in zip(
            range(first, row["events"] + 1), _events_of(row), strict=False
        )
    ]


def _events_of(row: Row) -> Sequence[tuple[EventType, str | None]]:
    match row["kind"]:
        case "event":
            return [(row["label"], row["content"])]
        case "end":
            return [("error", bytes(events.error(row["content"]).data).decode())]
    return timeline(row["content"].encode())


def _derived_id(session_id: str, mark: str, number: int) -> str:
    """The session's UUID with another end: `mark` is one hexadecimal digit."""
    return f"{session_id[:24]}{mark}{number:011x}"


def _open_turn(row: Row) -> OpenTurn:
    return OpenTurn(
        id=row["turn"],
        session_id=row["session_id"],
        generation=row["generation"],
        error_frame=row["error_frame"],
    )


def _last(row: Row) -> int:
    last: int = row["last"]
    return last
