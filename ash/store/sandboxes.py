"""Sandboxes, and the logs of sessions."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeAlias

from ash.model import LogLevel, LogLine
from ash.store.driver import Repository, Row, Statement
from ash.store.schema import load

SANDBOXES_SQL = load("sandboxes")
LOGS_SQL = load("logs")

# What is kept of a session's log: enough to see what went wrong last.
KEPT_LINES = 10_000
KEPT_BYTES = 8 * 1024 * 1024

# What is kept of it when the session has ended.
KEPT_AT_END = 64 * 1024

# What a line takes in the database besides its text.
LINE_BYTES = 100

# So many take the writer 2 ms, for which others wait.
LINES_AT_ONCE = 200

# A line's level, text and time.
NewLine: TypeAlias = tuple[LogLevel, str, str]


class SandboxRepository(Repository):
    async def add_sandbox(
        self, sandbox_id: str, *, owner: str, tenant: str, agent: str, version: int, now: str
    ) -> bool:
        """Stores a sandbox that starts; returns whether it was cold before."""
        params = {
            "id": sandbox_id,
            "owner": owner,
            "tenant": tenant,
            "agent": agent,
            "version": version,
            "now": now,
        }
        unit = [
            Statement(SANDBOXES_SQL["restart_sandbox"], params),
            Statement(SANDBOXES_SQL["add_sandbox"], params),
        ]
        was_cold, *_ = await self._driver.write(unit)
        return bool(was_cold)

    async def chill_sandbox(self, sandbox_id: str, now: str) -> None:
        """Marks a sandbox as cold: it has no processes any more, but its files are kept."""
        params = {"id": sandbox_id, "state": "cold", "now": now}
        await self._driver.write([Statement(SANDBOXES_SQL["move_sandbox"], params)])

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._driver.write([Statement(SANDBOXES_SQL["remove_sandbox"], {"id": sandbox_id})])

    async def count_cold(self, owner: str) -> int:
        params = {"owner": owner, "state": "cold"}
        return await self._driver.fetch_one(SANDBOXES_SQL["count_sandboxes"], params, _total) or 0

    async def recover_sandboxes(self, owner: str, now: str) -> None:
        """After a crash: marks the owner's sandboxes as cold; removes those without a session."""
        params = {"owner": owner, "now": now}
        await self._driver.write(
            [
                Statement(SANDBOXES_SQL["recover_sandboxes"], params),
                Statement(SANDBOXES_SQL["drop_sandboxes"], params),
            ]
        )


def _total(row: Row) -> int:
    total: int = row["total"]
    return total


class LogRepository(Repository):
    async def append_logs(self, session_id: str, lines: Iterable[NewLine]) -> None:
        """Appends lines, and removes the oldest: see KEPT_LINES, KEPT_BYTES.

        Many lines are written in several units, so that other writes get their turn.
        """
        for part in _parts(lines, LINES_AT_ONCE):
            unit = [
                Statement(
                    LOGS_SQL["add_log"],
                    {
                        "session_id": session_id,
                        "level": level,
                        "text": text,
                        "ts": ts,
                        "size": len(text) + LINE_BYTES,
                    },
                )
                for level, text, ts in part
            ]
            await self._driver.write([*unit, _trim(session_id, KEPT_LINES, KEPT_BYTES)])

    async def shorten_logs(self, session_id: str) -> None:
        """Leaves of an ended session's log what may tell why it ended."""
        await self._driver.write([_trim(session_id, KEPT_LINES, KEPT_AT_END)])

    async def logs(
        self, tenant: str, session_id: str, *, after: int = -1, limit: int = 1000
    ) -> list[LogLine]:
        """Oldest first; `after` is the index of the last line that the caller has."""
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        return await self._driver.fetch(LOGS_SQL["logs"], params, _line)


def _line(row: Row) -> LogLine:
    return LogLine(index=row["line"], level=row["level"], text=row["text"], ts=row["ts"])


def _trim(session_id: str, lines: int, size: int) -> Statement:
    return Statement(
        LOGS_SQL["trim_logs"], {"session_id": session_id, "lines": lines, "bytes": size}
    )


def _parts(lines: Iterable[NewLine], size: int) -> Iterator[list[NewLine]]:
    rest = iter(lines)
    while part := list(islice(rest, size)):
        yield part
