"""The stored frames of a session, for clients that come back to a stream."""

from typing import Literal

from msgspec import Struct

from ash.model import TurnOrigin
from ash.store.driver import Repository, Row
from ash.store.schema import load

FRAMES_SQL = load("frames")


class StoredFrame(Struct, frozen=True):
    """One frame, or a message that stands for all frames made of it; `id` is that of the last one.

    `text` is the version for a `session_start`, the text for an `error`, the reason for a `done`.
    A message's content may be large and is not included; `sequence` identifies it in the session.
    `origin` is that of a `session_start`.
    """

    id: int
    event: Literal["session_start", "message", "error", "done"]
    text: str | None
    sequence: int | None
    origin: TurnOrigin | None = None


class FrameRepository(Repository):
    async def frames_after(
        self, tenant: str, session_id: str, *, after: int, limit: int = 100
    ) -> list[StoredFrame]:
        """Frames after an id, in order; a message is included if its last frame is after it.

        There are `limit` of them if there are so many, and a few more if turns ended in errors.
        """
        params = {"tenant": tenant, "session_id": session_id, "after": after, "limit": limit}
        rows = await self._driver.fetch(FRAMES_SQL["frames_after"], params, _frames)
        return [frame for row in rows for frame in row if frame.id > after]

    async def in_turn(self, tenant: str, session_id: str, frame: int) -> bool:
        """Whether a turn was running when `frame` was the latest frame."""
        params = {"tenant": tenant, "session_id": session_id, "after": frame}
        return bool(await self._driver.fetch_one(FRAMES_SQL["turn_at"], params, _running))


def _frames(row: Row) -> list[StoredFrame]:
    last: int = row["frame"]
    match row["kind"]:
        case "begin":
            return [StoredFrame(last, "session_start", row["label"], None, row["origin"])]
        case "message":
            return [StoredFrame(last, "message", None, row["messages"])]
    done = StoredFrame(last, "done", row["label"], None)
    if row["error"] is None:
        return [done]
    return [StoredFrame(last - 1, "error", row["error"], None), done]


def _running(row: Row) -> bool:
    return bool(row["running"])
