"""The frames of a session that last, by the ids that they were shown with."""

from typing import Literal

from msgspec import Struct

from ash.store.base import Repository
from ash.store.driver import Row
from ash.store.sql import load

SQL = load("frames")


class StoredFrame(Struct, frozen=True):
    """One frame, or a message with all the frames that were made of it: `id` is the last one's.

    `text` is the version of a `session_start`, the text of an `error`, the reason of a `done`.
    A message is not in here, as it may be large: it is the session's with that `sequence`.
    """

    id: int
    event: Literal["session_start", "message", "error", "done"]
    text: str | None
    sequence: int | None


class FrameRepository(Repository):
    async def frames_after(
        self, tenant: str, session_id: str, *, after: int, limit: int = 100
    ) -> list[StoredFrame]:
        """In the order of their ids; a message belongs here if its last frame does."""
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        return await self._driver.fetch(SQL["frames_after"], params, _frame)

    async def in_turn(self, tenant: str, session_id: str, frame: int) -> bool:
        """Whether a turn had begun and not ended when `frame` was the latest."""
        params = {"tenant": tenant, "session_id": session_id, "upto": frame}
        return bool(await self._driver.fetch_one(SQL["turns_between"], params, _total))


def _frame(row: Row) -> StoredFrame:
    return StoredFrame(
        id=row["frame"], event=row["event"], text=row["text"], sequence=row["sequence"]
    )


def _total(row: Row) -> int:
    total: int = row["total"]
    return total
