"""Bounds what large frames take of a daemon's memory, over all its sessions and their readers.

A message of an agent may have 32 MB. The rings of all sessions together keep a bounded amount, and
few readers at a time are sent a large frame, or read one from the store: the others wait.
"""

from typing import Protocol

import trio

from ash.events import Frame
from ash.large_lines import LARGE, LargeLines, LargeMessage
from ash.protocol import message_line

# What is sent at once of a large frame, or of several, has more bytes than that.
LARGE_WRITE = 1024 * 1024

# What all rings keep together, besides the one that was published to last.
KEPT_BYTES = 96 * 1024 * 1024

# So many readers are sent large frames at a time.
PLACES = 6


class KeepsFrames(Protocol):
    @property
    def kept_bytes(self) -> int: ...

    def shrink(self) -> None:
        """Drops old frames: who needs them reads them from the store."""
        ...


class LargeFrames:
    """`lines` reads large messages that come from the store."""

    def __init__(self, lines: LargeLines) -> None:
        self._lines = lines
        self._places = trio.CapacityLimiter(PLACES)
        self._rings: dict[KeepsFrames, int] = {}
        self._kept = 0

    def published(self, ring: KeepsFrames) -> None:
        """Lets the rings that were published to longest ago shrink, if all keep too much."""
        self.dropped(ring)
        if self._kept > KEPT_BYTES:
            self._shrink()
        self._count(ring)

    def dropped(self, ring: KeepsFrames) -> None:
        """Nobody holds the ring any more."""
        self._kept -= self._rings.pop(ring, 0)

    def _shrink(self) -> None:
        for each in list(self._rings):
            each.shrink()
            self._kept -= self._rings[each]
            self._rings[each] = each.kept_bytes
            self._kept += each.kept_bytes
            if self._kept <= KEPT_BYTES:
                return

    def _count(self, ring: KeepsFrames) -> None:
        """As the one that was published to last."""
        self._rings[ring] = ring.kept_bytes
        self._kept += ring.kept_bytes

    def try_place(self, reader: object) -> bool:
        """Whether there is a place for a reader, who has it then."""
        try:
            self._places.acquire_on_behalf_of_nowait(reader)
        except trio.WouldBlock:
            return False
        return True

    async def place(self, reader: object) -> None:
        await self._places.acquire_on_behalf_of(reader)

    def leave(self, reader: object) -> None:
        self._places.release_on_behalf_of(reader)

    async def frames_of(self, content: bytes) -> list[Frame] | None:
        """The frames of a large message; None for one that is small."""
        if len(content) <= LARGE:
            return None
        line = memoryview(message_line(content))[:-1]
        read = await self._lines.read(line)
        if isinstance(read, LargeMessage):
            return read.reading.frames
        return [Frame("message", content)]
