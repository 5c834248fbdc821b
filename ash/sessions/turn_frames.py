from ash.sessions.frame_ring import FrameRing
from ash.sessions.turn import Turn


class TurnFrames:
    """The frames of one turn, none of the next."""

    def __init__(self, turn: Turn, ring: FrameRing) -> None:
        self.cursor = turn.first_frame
        self._turn = turn
        self._ring = ring

    async def read(self) -> bytes:
        """What comes next, about as much as fits into one write; nothing at the end. Raises Cut."""
        last = self._turn.last_frame
        if last is not None and self.cursor > last:
            return b""
        end = None if last is None else last + 1
        frames, self.cursor = await self._ring.read(self.cursor, end)
        return frames
