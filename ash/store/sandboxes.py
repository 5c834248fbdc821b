"""Sandboxes, and the logs of sessions."""

from collections.abc import Iterable
from typing import TypeAlias

from ash.model import LogLevel, LogLine
from ash.store.driver import Repository, Row, Statement
from ash.store.schema import load

SANDBOXES_SQL = load("sandboxes")
LOGS_SQL = load("logs")

# A few megabytes for a session that prints for weeks, and enough to see what went wrong last.
KEPT_LINES = 10_000

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
        """Appends lines, and removes all but the session's last 10,000."""
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
