"""The recent frames of a session, for everybody who follows it.

One turn publishes, any number of clients follow, and none of them may slow the turn or make it need
more memory. So a follower has no queue: it holds the id of the frame that it wants next, and reads
from the one ring. A frame is turned into bytes once, when it is published, and the ring keeps the
latest frames up to a bound in bytes. When it is over the bound it drops down to half of it, so that
the cost of a drop is spread over many frames. A follower whose next frame was dropped reads what
lasts from the store (`watch.py`), which knows every complete message by the id of its last frame,
and then comes back to the ring. This is the reader's side of a log with offsets, as brokers have
it, with the store as the log's older part.

Tried and dropped: a fixed bound. One picture that an agent reads comes in three large frames at
once, which sent every follower to the store; now the bound grows with the largest frame. Not taken:
deltas in the store, as they are most of the bytes and the message that follows says the same
(docs/decisions/0011).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from msgspec import Struct

from ash.events import Frame, sse
from ash.large_lines import LargeLines
from ash.sessions.large_frames import LargeFrames

# How far a slow follower may lag behind before it misses deltas. All followers share the ring, so
# this is also all the memory that the frames of a running session take, unless frames are very
# large.
RING_BYTES = 8 * 1024 * 1024

# The ring holds at least so many frames as large as its largest one. A picture that an agent reads,
# or a long answer, comes in three large frames at once, and no follower should have to ask for them
# in the store.
RING_LARGEST = 4

# The size of one write. Larger writes gain nothing and delay other sessions.
WRITE_BYTES = 64 * 1024

# Frame ids are reserved in the store this many at a time, and skipped after a crash. More
# than a turn can use up, and 2**53 leaves room for 8 billion reservations.
RESERVE = 1 << 20


class Lagged(Exception):
    """The follower's next frame is not in the ring any more; what lasts of it is in the store."""


class RingBroken(Exception):
    """The frames that follow could not be stored, or are another daemon's. Reconnect for them."""


class RingEnded(RingBroken):
    """The follower has had the last frame: this daemon will publish no more."""


class FrameRingStatistics(Struct, frozen=True):
    """`frames` of `bytes` in all are in memory; `followers` wait for the next one."""

    frames: int
    bytes: int
    earliest: int
    next_id: int
    followers: int
    broken: bool
    ended: bool


class FrameRing:
    """Numbers frames and keeps the latest.

    The store has reserved all ids below `reserved`. One turn at a time publishes.
    """

    def __init__(self, next_id: int, large: LargeFrames | None = None) -> None:
        self.large = large or LargeFrames(LargeLines())
        self.next_id = next_id
        self.reserved = next_id
        self._frames: list[bytes] = []
        self._bytes = 0
        self._largest = 0
        self._followers = trio.lowlevel.ParkingLot()
        self.broken = False
        self.ended = False

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    @property
    def earliest(self) -> int:
        """The id of the oldest frame that is still here; the next one's if there is none."""
        return self.next_id - len(self._frames)

    def statistics(self) -> FrameRingStatistics:
        return FrameRingStatistics(
            frames=len(self._frames),
            bytes=self._bytes,
            earliest=self.earliest,
            next_id=self.next_id,
            followers=len(self._followers),
            broken=self.broken,
            ended=self.ended,
        )

    def reservation(self) -> int | None:
        """The id up to which the next write must reserve; None while enough are reserved."""
        if self.reserved - self.next_id > RESERVE // 2:
            return None
        return self.next_id + RESERVE

    def publish(self, frames: Sequence[Frame]) -> None:
        """Gives the frames their ids, in order from `next_id`, and shows them."""
        for frame in frames:
            data = sse(self.next_id, frame)
            self._frames.append(data)
            self._bytes += len(data)
            self._largest = max(self._largest, len(data))
            self.next_id += 1
        self._trim(max(RING_BYTES, RING_LARGEST * self._largest))
        self.large.published(self)
        self._followers.unpark_all()

    def break_off(self) -> None:
        """Cuts all followers, because the next frames could not be stored."""
        self.broken = True
        self._followers.unpark_all()

    def end(self) -> None:
        """Ends the followers when they have read what is in the ring."""
        self.ended = True
        self._followers.unpark_all()

    async def read(self, cursor: int, end: int | None = None) -> tuple[list[bytes], int]:
        """Returns the frames from `cursor` on, and the next cursor. Waits until there is one.

        It returns as many as fit into one write, at least one, and none from `end` on. Raises
        Lagged, RingBroken, and RingEnded after the last frame.
        """
        while cursor >= self.next_id:
            if self.ended:
                raise RingEnded
            if self.broken:
                raise RingBroken
            await self._followers.park()
        earliest = self.earliest
        if cursor < earliest:
            raise Lagged
        start = cursor - earliest
        stop, size = start, 0
        last = len(self._frames) if end is None else min(len(self._frames), end - earliest)
        while stop < last and (stop == start or size + len(self._frames[stop]) <= WRITE_BYTES):
            size += len(self._frames[stop])
            stop += 1
        return self._frames[start:stop], cursor + stop - start

    def shrink(self) -> None:
        """Drops large frames that were kept for those who follow at once."""
        self._trim(RING_BYTES)

    def _trim(self, bound: int) -> None:
        """Drops the oldest frames down to half of the bound, if the ring is over it."""
        if self._bytes <= bound:
            return
        drop = 0
        while self._bytes > bound // 2:
            self._bytes -= len(self._frames[drop])
            drop += 1
        del self._frames[:drop]
        self._largest = max(map(len, self._frames), default=0)


class _Held(Struct, eq=False):
    ring: FrameRing
    holders: int = 0


class FrameRings:
    """The rings of all sessions. A live session holds its ring, and so does each watcher.

    So a watcher stays when the session is paused, and goes on when it is resumed. A ring that
    nobody holds is dropped: the frames that last are in the store.
    """

    def __init__(self, large: LargeFrames | None = None) -> None:
        self._large = large or LargeFrames(LargeLines())
        self._held: dict[str, _Held] = {}
        self._shut = False

    @contextmanager
    def to_publish(self, session_id: str, next_frame: int) -> Iterator[FrameRing]:
        """For the session itself; `next_frame` is the first id that the store has not given out.

        Uses the ring that watchers hold, unless the store has given out ids that this ring does
        not know, because another daemon wrote or an answer was lost. Then its watchers are cut.
        """
        held = self._held.get(session_id)
        if held is not None and next_frame > held.ring.reserved:
            held.ring.break_off()
        with self.to_watch(session_id, next_frame) as ring:
            yield ring

    @contextmanager
    def to_watch(self, session_id: str, next_frame: int) -> Iterator[FrameRing]:
        """For a watcher. `next_frame` is used only if nobody holds the ring yet."""
        held = self._held.get(session_id)
        if held is None or held.ring.broken:
            held = self._held[session_id] = _Held(FrameRing(next_frame, self._large))
        if self._shut:
            held.ring.end()
        held.holders += 1
        try:
            yield held.ring
        finally:
            held.holders -= 1
            if not held.holders:
                self._large.dropped(held.ring)
            if not held.holders and self._held.get(session_id) is held:
                del self._held[session_id]

    def end(self, session_id: str) -> None:
        """Ends the watchers of a session that has ended."""
        if held := self._held.get(session_id):
            held.ring.end()

    def shut(self) -> None:
        """Ends all watchers, because the daemon stops and publishes nothing more."""
        self._shut = True
        for held in self._held.values():
            held.ring.end()
