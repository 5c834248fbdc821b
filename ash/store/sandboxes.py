"""After a crash: nothing may claim to run that nobody runs."""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from ash.lifecycle import Change
from ash.model import LogLevel, LogLine, Session, StoredSession, TurnReason
from ash.store.driver import OwnershipLost, Repository, Row, Statement
from ash.store.history import HistoryRepository, OpenTurn
from ash.store.schema import load
from ash.store.sessions import SessionRepository

SANDBOXES_SQL = load("sandboxes")


class SandboxRepository(Repository):
    async def add_sandbox(
        self, sandbox_id: str, *, owner: str, tenant: str, agent: str, version: int, now: str
    ) -> bool:
        """Whether it is one that was cold."""
        params = {
            "id": sandbox_id,
            "owner": owner,
            "tenant": tenant,
            "agent": agent,
            "version": version,
            "now": now,
        }
        unit = [
            Statement(SANDBOXES_SQL["wake_sandbox"], params),
            Statement(SANDBOXES_SQL["add_sandbox"], params),
        ]
        woken, *_ = await self._driver.write(unit)
        return bool(woken)

    async def chill_sandbox(self, sandbox_id: str, now: str) -> None:
        """Its processes are gone, its files are kept."""
        params = {"id": sandbox_id, "state": "cold", "now": now}
        await self._driver.write([Statement(SANDBOXES_SQL["move_sandbox"], params)])

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._driver.write([Statement(SANDBOXES_SQL["remove_sandbox"], {"id": sandbox_id})])

    async def count_cold(self, owner: str) -> int:
        params = {"owner": owner, "state": "cold"}
        return await self._driver.fetch_one(SANDBOXES_SQL["count_sandboxes"], params, _total) or 0

    async def settle_sandboxes(self, owner: str, now: str) -> None:
        """After a crash, when none of the owner's sandboxes lives."""
        params = {"owner": owner, "now": now}
        await self._driver.write(
            [
                Statement(SANDBOXES_SQL["settle_sandboxes"], params),
                Statement(SANDBOXES_SQL["drop_sandboxes"], params),
            ]
        )


def _total(row: Row) -> int:
    total: int = row["total"]
    return total


LOGS_SQL = load("logs")

# A session that prints for weeks costs a few megabytes, and what went wrong last is still there.
KEPT_LINES = 10_000

# The level, the text and the time of a line.
NewLine: TypeAlias = tuple[LogLevel, str, str]


class LogRepository(Repository):
    async def append_logs(self, session_id: str, lines: Iterable[NewLine]) -> None:
        """Keeps the last 10,000 lines of the session, these included."""
        unit = [
            Statement(
                LOGS_SQL["add_log"],
                {"session_id": session_id, "level": level, "text": text, "ts": ts},
            )
            for level, text, ts in lines
        ]
        trim = {"session_id": session_id, "keep": KEPT_LINES}
        await self._driver.write([*unit, Statement(LOGS_SQL["trim_logs"], trim)])

    async def logs(
        self, tenant: str, session_id: str, *, after: int = -1, limit: int = 1000
    ) -> list[LogLine]:
        """Oldest first; `after` is the index of the last line that the caller has."""
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        return await self._driver.fetch(LOGS_SQL["logs"], params, _line)


def _line(row: Row) -> LogLine:
    return LogLine(index=row["line"], level=row["level"], text=row["text"], ts=row["ts"])


LOST = Change(("starting", "active"), "paused")

_PAUSED = '{"action":"paused","reason":"the daemon was restarted"}'
_CUT = "The daemon was restarted during the turn"


class RecoveryRepository(HistoryRepository, SessionRepository):
    async def recover(self, owner: str, now: str) -> list[Session]:
        """Ends and pauses what an earlier life of `owner` left running; what was paused.

        A turn that was cut ends as `lost`, with its error in the timeline. Sessions get a new
        generation: whoever still holds the old one can write no more. Safe to repeat.
        """
        for turn in await self.open_turns(owner):
            await self._end(turn, "lost", _CUT, now)
        left = await self.running_sessions(owner)
        paused = [
            await self.change_session(
                stored.session.id,
                LOST,
                now,
                event=_PAUSED,
                generation=stored.generation,
                new_generation=True,
            )
            for stored in left
        ]
        return [stored.session for stored in paused if stored]

    async def end_broken_turns(self, stored: StoredSession, error: str, now: str) -> None:
        """Ends what could not be ended when it was time to. Safe to repeat."""
        for turn in await self.open_turns(stored.owner, stored.session.id):
            if turn.generation == stored.generation:
                await self._end(turn, "error", error, now)

    async def _end(self, turn: OpenTurn, reason: TurnReason, text: str, now: str) -> None:
        error = msgspec.json.encode({"error": text}).decode()
        try:
            await self.end_turn(
                turn.id,
                turn.session_id,
                turn.generation,
                reason,
                error=text,
                error_frame=turn.error_frame,
                end_frame=turn.error_frame + 1,
                events=[("error", error)],
                next_frame=turn.error_frame + 2,
                now=now,
            )
        except OwnershipLost:
            return
