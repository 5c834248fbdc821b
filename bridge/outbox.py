"""Lines on their way to the daemon."""

from collections import deque

import trio

# What is written at once: a socket's buffer takes that much without waiting.
BATCH = 64 * 1024
# With that much unsent, whoever makes more waits: the CLI is then held up by its own full pipe.
# One line may be larger; it goes out alone.
HIGH_WATER = 1024 * 1024


class Outbox:
    """What is ready together goes out together; nothing waits for more to come."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    async def put(self, line: bytes) -> None:
        """Waits while too much is unsent."""
        while self._size >= HIGH_WATER:
            await self._emptied.park()
        self.put_now(line)

    def put_now(self, line: bytes) -> None:
        """For those who must not wait, because they also hear the interrupts."""
        self._lines.append(line)
        self._size += len(line)
        self._filled.unpark()

    async def flush(self) -> None:
        """Returns when all has been sent."""
        while self._size:
            await self._emptied.park()

    async def send_to(self, stream: trio.abc.SendStream) -> None:
        """Sends for as long as it runs. Raises BrokenResourceError when the daemon has gone."""
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
