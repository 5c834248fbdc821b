import os

import trio

from ash.http.http_stream import ClientGone


class Sender:
    """Writes to a client's socket: whole pieces, in turn, and never waiting for ever.

    Nothing is shielded: a send that is cancelled or times out ends here, and as what was cut
    short can't be followed by anything, every later one is refused.
    """

    def __init__(self, stream: trio.SocketStream, timeout: float) -> None:
        self._stream = stream
        self._timeout = timeout
        self._turn = trio.Lock()
        self._broken = False

    async def send(self, data: bytes) -> None:
        """Raises ClientGone when the client has left, or takes no byte for the timeout."""
        if self._broken:
            raise ClientGone("The client has closed the connection.")
        try:
            await self._send_in_turn(data)
        except (OSError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self._broken = True
            raise ClientGone("The client has closed the connection.") from error
        except BaseException:
            self._broken = True
            raise

    async def _send_in_turn(self, data: bytes) -> None:
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            await self._send_all(memoryview(data))
        finally:
            self._turn.release()

    async def _send_all(self, data: memoryview) -> None:
        """Writes at once what the kernel takes, and waits only for what it doesn't.

        So the usual answer is out, and the connection ready for the next request, without a
        pass of the scheduler in which that request could come in between.
        """
        waited_in_vain = False
        while True:
            try:
                data = data[os.write(self._stream.socket.fileno(), data) :]
            except BlockingIOError:
                if waited_in_vain:
                    raise trio.TooSlowError from None
            if not data:
                return
            # A slow reader makes some room before the kernel calls the socket writable.
            with trio.move_on_after(self._timeout) as patience:
                await trio.lowlevel.wait_writable(self._stream.socket)
            waited_in_vain = patience.cancelled_caught
