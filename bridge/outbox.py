"""The queue of lines that wait to be sent to the daemon."""

from collections import deque

import trio

# At most this many bytes go into one write; a socket's buffer takes that much without waiting.
BATCH = 64 * 1024
# While this many bytes are unsent, `put` waits; the CLI then blocks on its own full pipe.
# A single line may be larger.
HIGH_WATER = 1024 * 1024


class Outbox:
    """Sends all lines that are ready in one write, and never waits for more to come."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    async def put(self, line: bytes) -> None:
        """Adds a line; waits while too much is unsent."""
        while self._size >= HIGH_WATER:
            await self._emptied.park()
        self.put_now(line)

    def put_now(self, line: bytes) -> None:
        """Adds a line at once, for tasks that must not wait because they also read interrupts."""
        self._lines.append(line)
        self._size += len(line)
        self._filled.unpark()

    async def flush(self) -> None:
        """Returns when all has been sent."""
        while self._size:
            await self._emptied.park()

    async def send_to(self, stream: trio.abc.SendStream) -> None:
        """Sends lines until cancelled. Raises BrokenResourceError when the daemon has gone."""
        while True:
            while not self._lines:
                await self._filled.park()
            batch = self._take()
            await stream.send_all(batch)
            self._size -= len(batch)
            self._emptied.unpark_all()

    def _take(self) -> bytes:
        lines = [self._lines.popleft()]
        size = len(lines[0])
        while self._lines and size + len(self._lines[0]) <= BATCH:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        return lines[0] if len(lines) == 1 else b"".join(lines)
