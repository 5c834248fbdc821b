"""Reads the frames of a session for one watcher: first from the store, then from the ring."""

from collections import deque
from typing import cast

from ash import __version__, events
from ash.events import Frame, sse
from ash.model import TurnReason
from ash.sessions.frame_ring import WRITE_BYTES, FrameRing, RingEnded
from ash.sessions.turn import Turn
from ash.store import Store
from ash.store.frames import StoredFrame

# Read at once: a few dozen bytes each. Messages are read one by one, as one may be megabytes.
PAGE = 200


class Watch:
    """Reads the frames from the id `cursor` on, and names those that are missing.

    Frames are missing if their ids lie between the start and the end of a turn and are neither in
    the ring nor in the store: deltas that the ring dropped or that a crash took. Ids between two
    turns were reserved and skipped, but never shown, so they are not missing.
    """

    def __init__(
        self, store: Store, tenant: str, session_id: str, ring: FrameRing, cursor: int
    ) -> None:
        self.cursor = cursor
        self._store = store
        self._tenant = tenant
        self._session_id = session_id
        self._ring = ring
        self._live = False
        self._in_turn: bool | None = None
        self._page: deque[StoredFrame] = deque()
        self._is_last_page = False
        self._boundary = 0
        self._written: list[bytes] = []
        self._written_size = 0

    @property
    def is_ending(self) -> bool:
        """Whether no frame will be published any more."""
        return self._ring.ended

    async def read(self) -> bytes:
        """What `read_frames` gives, as it goes over the wire."""
        return b"".join(await self.read_frames())

    async def read_frames(self) -> list[bytes]:
        """Returns the next frames, about as many as fit into one write. Waits until there is one.

        Returns none at the end. Raises Lagged if the watcher had reached the ring and fell behind
        it. A read that is cancelled loses nothing.
        """
        if not self._live:
            if self.cursor > self._ring.next_id:
                self._miss(self._ring.next_id)
            while not self._written and self.cursor < self._ring.earliest:
                await self._read_past()
            if self._written:
                written, self._written, self._written_size = self._written, [], 0
                return written
            self._live = True
        try:
            frames, self.cursor = await self._ring.read(self.cursor)
        except RingEnded:
            return []
        return frames

    async def _read_past(self) -> None:
        """Writes what was before the ring's first frame, up to one write."""
        if self._in_turn is None:
            before = self.cursor - 1
            self._in_turn = await self._store.in_turn(self._tenant, self._session_id, before)
        if not self._page:
            await self._turn_page()
        while self._page and self._written_size < WRITE_BYTES:
            frames = await self._frames(self._page[0])
            self._show(self._page.popleft(), frames)
        if self._is_last_page and not self._page:
            self._skip(self._boundary)

    async def _turn_page(self) -> None:
        # Read before the store: what lasts of the frames below it is stored by now.
        boundary = self._ring.earliest
        found = await self._store.frames_after(
            self._tenant, self._session_id, after=self.cursor - 1, limit=PAGE
        )
        self._boundary = boundary
        self._page.extend(found)
        self._is_last_page = len(found) < PAGE

    async def _frames(self, stored: StoredFrame) -> list[Frame]:
        """Makes the frames again as they were shown; the stored id is that of the last one."""
        text = stored.text or ""
        match stored.event:
            case "session_start":
                version = text or __version__
                return [events.session_start(self._session_id, version, stored.origin)]
            case "error":
                return [events.error(text)]
            case "done":
                return [events.done(self._session_id, cast("TurnReason", text))]
        after = cast("int", stored.sequence) - 1
        (message,) = await self._store.messages(
            self._tenant, self._session_id, after=after, limit=1
        )
        return events.read(message.content.encode()).frames

    def _show(self, stored: StoredFrame, frames: list[Frame]) -> None:
        """Writes the frames that the watcher has not had and that are not in the ring."""
        for frame_id, frame in enumerate(frames, stored.id - len(frames) + 1):
            if self.cursor <= frame_id < self._boundary:
                self._skip(frame_id)
                self._write(frame_id, frame)
                self.cursor = frame_id + 1
        if stored.id < self._boundary:
            self._in_turn = stored.event != "done"
        else:
            self._page.clear()
            self._is_last_page = True

    def _skip(self, to: int) -> None:
        """Continues at the id `to`; within a turn that means a gap."""
        if self.cursor < to and self._in_turn:
            self._miss(to)
        self.cursor = to

    def _miss(self, earliest: int) -> None:
        """Writes a gap: the frames before `earliest` are gone."""
        gap = events.gap(self.cursor, earliest, self._ring.next_id - 1)
        self._write(earliest - 1, gap)
        self.cursor = earliest

    def _write(self, frame_id: int, frame: Frame) -> None:
        data = sse(frame_id, frame)
        self._written.append(data)
        self._written_size += len(data)


class TurnFrames:
    """Reads the frames of one turn, up to its `done`."""

    def __init__(self, turn: Turn, ring: FrameRing) -> None:
        self.cursor = turn.first_frame
        self._turn = turn
        self._ring = ring

    async def read(self) -> bytes:
        """What `read_frames` gives, as it goes over the wire."""
        return b"".join(await self.read_frames())

    async def read_frames(self) -> list[bytes]:
        """The next frames, about as many as fit into one write; none at the end. Raises Lagged."""
        last = self._turn.last_frame
        if last is not None and self.cursor > last:
            return []
        end = None if last is None else last + 1
        frames, self.cursor = await self._ring.read(self.cursor, end)
        return frames
