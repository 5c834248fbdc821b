"""The recent frames of a session, for whoever follows it."""

from collections.abc import Sequence

import trio

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


class Cut(Exception):
    """The follower's next frame is no longer here: it has to come back with its cursor."""


class Ended(Cut):
    """The follower has had the last frame: none will ever come, or not from this daemon."""


class Stream:
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

    async def read(self, cursor: int, end: int | None = None) -> tuple[bytes, int]:
        """The frames from `cursor` on that are there, and the next cursor; waits for one.

        Takes as many as fit into one write, at least one, none from `end` on. Raises Cut, and
        Ended behind the last one.
        """
        while cursor >= self.next_id:
            if self.ended:
                raise Ended
            if self.broken:
                raise Cut
            await self._followers.park()
        earliest = self.earliest
        if cursor < earliest:
            raise Cut
        start = cursor - earliest
        stop, size = start, 0
        last = len(self._frames) if end is None else min(len(self._frames), end - earliest)
        while stop < last and (stop == start or size + len(self._frames[stop]) <= WRITE_BYTES):
            size += len(self._frames[stop])
            stop += 1
        return b"".join(self._frames[start:stop]), cursor + stop - start

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
