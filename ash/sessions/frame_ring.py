"""The recent frames of a session, for everybody who follows it.

One turn publishes, any number of clients follow, and none of them may slow the turn or make it need
more memory. So a follower has no queue: it holds the id of the frame that it wants next, and reads
from the one ring. A frame is turned into bytes once, when it is published, and the ring keeps the
latest frames up to a bound in bytes. When it is over the bound it drops down to half of it, so that
the cost of a drop is spread over many frames. A follower whose next frame was dropped is cut. It
comes back with its cursor and reads what lasts from the store (`watch.py`), which knows every
complete message by the id of its last frame. This is the reader's side of a log with offsets, as
brokers have it, with the store as the log's older part.

Tried and dropped: a fixed bound. One picture that an agent reads comes in three large frames at
once, which cut every follower; now the bound grows with the largest frame. Not taken: deltas in the
store, as they are most of the bytes and the message that follows says the same
(docs/decisions/0011).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import trio
from msgspec import Struct

from ash.events import Frame, sse

# What one slow follower may lag behind before it is cut. Shared by all followers: this is
# also all the memory a running session's stream takes.
RING_BYTES = 8 * 1024 * 1024

# Larger frames may lie behind each other that often before a follower is cut: one picture that
# an agent reads, one long answer, comes in three of them at once.
RING_LARGEST = 4

# What goes out in one write: more gains nothing, and holds other sessions up.
WRITE_BYTES = 64 * 1024

# Frame ids are reserved in the store this many at a time, and skipped after a crash. More
# than a turn can use up, and 2**53 leaves room for 8 billion reservations.
RESERVE = 1 << 20


class Lagged(Exception):
    """The follower's next frame is no longer here: it has to come back with its cursor."""


class RingEnded(Lagged):
    """The follower has had the last frame: none will ever come, or not from this daemon."""


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

    `reserved` is the first id that the store does not know as taken. One turn at a time
    publishes; followers hold nothing but the id of the frame they want next, so none of them
    can hold up a turn or make it need more memory.
    """

    def __init__(self, next_id: int) -> None:
        self.next_id = next_id
        self.reserved = next_id
        self._frames: list[bytes] = []
        self._bytes = 0
        self._largest = 0
        self._followers = trio.lowlevel.ParkingLot()
        self.broken = False
        self.ended = False

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
        """The id to reserve up to in the next write, if what is reserved runs low."""
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
        self._trim()
        self._followers.unpark_all()

    def break_off(self) -> None:
        """Cuts all followers: what should have come next could not be stored."""
        self.broken = True
        self._followers.unpark_all()

    def end(self) -> None:
        """Lets followers go once they have had what is here."""
        self.ended = True
        self._followers.unpark_all()

    async def read(self, cursor: int, end: int | None = None) -> tuple[list[bytes], int]:
        """The frames from `cursor` on that are there, and the next cursor; waits for one.

        Takes as many as fit into one write, at least one, none from `end` on. Raises Lagged, and
        RingEnded behind the last one.
        """
        while cursor >= self.next_id:
            if self.ended:
                raise RingEnded
            if self.broken:
                raise Lagged
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

    def _trim(self) -> None:
        """Drops to half when over the bound, so that the cost is spread over many frames."""
        bound = max(RING_BYTES, RING_LARGEST * self._largest)
        if self._bytes <= bound:
            return
        drop = 0
        while self._bytes > bound // 2:
            self._bytes -= len(self._frames[drop])
            drop += 1
        del self._frames[:drop]
        self._largest = max(map(len, self._frames))


class _Held(Struct, eq=False):
    ring: FrameRing
    holders: int = 0


class FrameRings:
    """A session holds its stream while it lives here, a watcher while it watches.

    So a watcher stays when the session is paused, and follows when it is resumed. A stream that
    nobody holds is forgotten: what lasts of it is in the store.
    """

    def __init__(self) -> None:
        self._held: dict[str, _Held] = {}
        self._shut = False

    @contextmanager
    def to_publish(self, session_id: str, next_frame: int) -> Iterator[FrameRing]:
        """For the session itself; `next_frame` is the first id that the store has not given out.

        Goes on with the stream that watchers have, unless there are ids that it does not know:
        another has written, or a write was not told of. Those watchers have to come back.
        """
        held = self._held.get(session_id)
        if held is not None and next_frame > held.ring.reserved:
            held.ring.break_off()
        with self.to_watch(session_id, next_frame) as ring:
            yield ring

    @contextmanager
    def to_watch(self, session_id: str, next_frame: int) -> Iterator[FrameRing]:
        """For a watcher; `next_frame` counts only for a stream that nobody holds."""
        held = self._held.get(session_id)
        if held is None or held.ring.broken:
            held = self._held[session_id] = _Held(FrameRing(next_frame))
        if self._shut:
            held.ring.end()
        held.holders += 1
        try:
            yield held.ring
        finally:
            held.holders -= 1
            if not held.holders and self._held.get(session_id) is held:
                del self._held[session_id]

    def end(self, session_id: str) -> None:
        """The session is over: its watchers may go."""
        if held := self._held.get(session_id):
            held.ring.end()

    def shut(self) -> None:
        """The daemon ends: nothing is published any more."""
        self._shut = True
        for held in self._held.values():
            held.ring.end()
