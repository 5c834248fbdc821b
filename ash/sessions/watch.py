"""Reads the frames of a session for one client: from the ring, or from the store while behind."""

from collections import deque
from typing import cast

from ash import __version__, events
from ash.events import Frame, sse
from ash.model import TurnReason
from ash.sessions.frame_ring import WRITE_BYTES, FrameRing, Lagged, RingEnded
from ash.sessions.large_frames import LARGE_WRITE
from ash.sessions.turn import Turn
from ash.store import Store
from ash.store.frames import StoredFrame

# Read at once: a few dozen bytes each. Messages are read one by one, as one may be megabytes.
PAGE = 200


class Watch:
    """Reads the frames from the id `cursor` on, and names those that are missing.

    Frames are missing if their ids lie between the start and the end of a turn and are neither in
    the ring nor in the store: deltas that the ring dropped or that a crash took. Ids between two
    turns were reserved and skipped, but never shown, so they are not missing. A watcher that the
    ring has overtaken goes on in the store, as often as that happens.
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
        self._has_place = False

    @property
    def is_ending(self) -> bool:
        """Whether no frame will be published any more."""
        return self._ring.ended

    async def read(self) -> bytes:
        """What `read_frames` gives, as it goes over the wire. What it gave before is then sent.

        Of what is large, few readers hold something at a time. The last read is followed by
        `close`.
        """
        self.close()
        while True:
            cursor = self.cursor
            data = b"".join(await self.read_frames())
            if len(data) <= LARGE_WRITE:
                self.close()
                return data
            if self._has_place or self._ring.large.try_place(self):
                self._has_place = True
                return data
            # Many that wait must not hold a large frame each.
            del data
            self.cursor = cursor
            await self._take_place()

    def close(self) -> None:
        """Says that what was read has been sent."""
        if self._has_place:
            self._has_place = False
            self._ring.large.leave(self)

    async def _take_place(self) -> None:
        if not self._has_place:
            await self._ring.large.place(self)
            self._has_place = True

    async def read_frames(self) -> list[bytes]:
        """Returns the next frames, about as many as fit into one write. Waits until there is one.

        Returns none at the end. Raises RingBroken if no more can be read, and what the store
        raises. A read that is cancelled loses nothing.
        """
        while not self._is_over:
            if not self._live and (written := await self._catch_up()):
                return written
            try:
                frames, self.cursor = await self._ring.read(self.cursor, self._end)
            except RingEnded:
                return []
            except Lagged:
                self._live, self._in_turn = False, None
            else:
                return frames
        return []

    @property
    def _end(self) -> int | None:
        """The id from which on no frame is read, as far as it is known."""
        return None

    @property
    def _is_over(self) -> bool:
        return self._end is not None and self.cursor >= self._end and not self._written

    def _store_end(self) -> int:
        """The id up to which the store is read. What lasts of the frames before it is stored."""
        earliest, end = self._ring.earliest, self._end
        return earliest if end is None else min(earliest, end)

    async def _catch_up(self) -> list[bytes]:
        """The next frames that are older than the ring's; none if the ring has the next one."""
        if self.cursor > self._ring.next_id:
            self._miss(self._ring.next_id)
        while not self._written and self.cursor < self._store_end():
            await self._read_past()
        written, self._written, self._written_size = self._written, [], 0
        if not written:
            self._live = True
            self._page.clear()
        return written

    async def _read_past(self) -> None:
        """Writes what was before the ring's first frame, up to one write."""
        if self._in_turn is None:
            before = self.cursor - 1
            self._in_turn = await self._store.in_turn(self._tenant, self._session_id, before)
        if not self._page:
            await self._turn_page()
        while self._page and self._written_size < WRITE_BYTES:
            self._show(self._page[0], await self._frames(self._page[0]))
        if self._is_last_page and not self._page:
            self._skip(self._boundary)

    async def _turn_page(self) -> None:
        # Read before the store, as the ring may drop more frames meanwhile.
        boundary = self._store_end()
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
        await self._take_place()
        (message,) = await self._store.messages(
            self._tenant, self._session_id, after=after, limit=1
        )
        content = message.content.encode()
        return await self._ring.large.frames_of(content) or events.read(content).frames

    def _show(self, stored: StoredFrame, frames: list[Frame]) -> None:
        """Writes the frames that the watcher has not had and that are not in the ring.

        It stops when a write is full, as each frame of a message may be as large as the message.
        The message is then read again for the others, so that a slow watcher holds one of them.
        """
        for frame_id, frame in enumerate(frames, stored.id - len(frames) + 1):
            if self._written_size >= WRITE_BYTES:
                return
            if self.cursor <= frame_id < self._boundary:
                self._skip(frame_id)
                self._write(frame_id, frame)
                self.cursor = frame_id + 1
        if stored.id < self._boundary:
            self._in_turn = stored.event != "done"
            self._page.popleft()
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


class TurnFrames(Watch):
    """Reads the frames of one turn, up to its `done`."""

    def __init__(self, turn: Turn, ring: FrameRing) -> None:
        stored, store = turn.context.stored, turn.context.store
        session = stored.session
        super().__init__(store, session.tenant_id, session.id, ring, turn.first_frame)
        self._turn = turn

    async def read_frames(self) -> list[bytes]:
        """The next frames; none after the last. Raises RingBroken if that can't be read."""
        frames = await super().read_frames()
        if not frames and not self._is_over:
            raise RingEnded
        return frames

    @property
    def _end(self) -> int | None:
        last = self._turn.last_frame
        return None if last is None else last + 1
