from collections.abc import Iterable
from typing import TypeAlias

from ash.model import LogLevel, LogLine
from ash.store.base import Repository
from ash.store.driver import Row, Statement
from ash.store.sql import load

SQL = load("logs")

# A session that prints for weeks costs a few megabytes, and what went wrong last is still there.
KEPT_LINES = 10_000

# The level, the text and the time of a line.
NewLine: TypeAlias = tuple[LogLevel, str, str]


class LogRepository(Repository):
    async def append_logs(self, session_id: str, lines: Iterable[NewLine]) -> None:
        """Keeps the last 10,000 lines of the session, these included."""
        unit = [
            Statement(
                SQL["add_log"], {"session_id": session_id, "level": level, "text": text, "ts": ts}
            )
            for level, text, ts in lines
        ]
        trim = {"session_id": session_id, "keep": KEPT_LINES}
        await self._driver.write([*unit, Statement(SQL["trim_logs"], trim)])

    async def logs(
        self, tenant: str, session_id: str, *, after: int = -1, limit: int = 1000
    ) -> list[LogLine]:
        """Oldest first; `after` is the index of the last line that the caller has."""
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        return await self._driver.fetch(SQL["logs"], params, _line)


def _line(row: Row) -> LogLine:
    return LogLine(index=row["line"], level=row["level"], text=row["text"], ts=row["ts"])
