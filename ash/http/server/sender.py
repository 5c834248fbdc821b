"""Writes responses to a client's socket."""

import os

import trio


class ClientGone(OSError):
    """Raised by an app's `send` when the client has left, as ASGI 2.4 asks for.

    An app need not catch it: the server takes it as the quiet end of the request.
    """

    def __init__(self) -> None:
        super().__init__("The client has closed the connection.")


class Sender:
    """Writes whole pieces to a client's socket, one after the other, each within a time limit.

    A send that is cancelled or times out may have written half of its piece. Nothing can follow
    that, so every later send is refused.
    """

    def __init__(self, stream: trio.SocketStream, timeout: float) -> None:
        self._stream = stream
        self._timeout = timeout
        self._turn = trio.Lock()
        self._broken = False

    async def send(self, data: bytes) -> None:
        """Raises ClientGone when the client has left, or takes no byte for the timeout."""
        if self._broken:
            raise ClientGone
        try:
            await self._send_in_turn(data)
        except (OSError, trio.ClosedResourceError, trio.TooSlowError) as error:
            self._broken = True
            raise ClientGone from error
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
        """Writes what the kernel takes at once, and waits only for the rest.

        A response of the usual size is then written without a checkpoint, and the connection is
        ready for the next request before that can arrive.
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
            # A slow client may have made some room although the kernel does not call the socket
            # writable yet: so one more write is tried after the time limit.
            with trio.move_on_after(self._timeout) as patience:
                await trio.lowlevel.wait_writable(self._stream.socket)
            waited_in_vain = patience.cancelled_caught
