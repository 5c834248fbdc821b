import os
from contextlib import suppress
from math import inf
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr
from msgspec import Struct

from ash.http.server.h11_protocol import H11Protocol
from ash.http.server.http_stream import ClientGone
from ash.http.server.task_group import TaskGroup
from ash.log import get_logger


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


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """How long a connection waits for its client, in seconds, and what it buffers, in bytes."""

    keep_alive_timeout: float = 75.0
    """Between an answer and the next request; nginx's default, above what proxies pool for."""

    head_timeout: float = 30.0
    """From a request's first byte to the end of its head, and for a new connection to speak."""

    body_timeout: float = 30.0
    """Waiting for a request's body, all waits added up; time the app takes doesn't count …"""

    body_rate: float = 1024.0
    """… and each byte that comes earns 1/body_rate seconds more, as in Apache's MinRate: a
    phone on a slow network can send 50 MB, a client that drips bytes can't stay."""

    send_timeout: float = 30.0
    """With the send buffer full, until the client has taken a byte."""

    linger_timeout: float = 10.0
    """After an answer that came before all of its request was read: closing at once would
    reset the connection, and the client might never see the answer."""

    linger_timeout_draining: float = 1.0
    """The same while the server shuts down: an answer underway still gets there."""

    max_head: int = 16 * 1024
    """Request line and headers, as in Node; what one read brings (16 KiB) may go over it."""


DEFAULT_LIMITS = ConnectionLimits()


# Parsing a head of tiny headers costs 0.4 ms a KiB, and the loop does nothing else meanwhile.
_HEAD_READ = 16 * 1024
_BODY_READ = 64 * 1024
# Of requests that come while an earlier one is being answered.
_READ_AHEAD = 64 * 1024

_log = get_logger()


class TCPServer:
    """One client's socket: moves bytes between it and the protocol, and watches the clock.

    Stands where Hypercorn has its `TCPServer`. It owns the socket and the nursery in which the
    app runs, once for each request. One task reads, all the time, so that a client that leaves
    is seen at once; it has one deadline, which moves with what the client owes: a head, a
    body, the next request. Whatever ends the connection ends the reading (`_reading`), and the
    reader closes the socket: nothing is shielded, so cancelling is never held up by a client.
    """

    def __init__(
        self,
        app: ASGIFramework,
        config: Config,
        context: WorkerContext,
        limits: ConnectionLimits,
        stream: trio.SocketStream,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._limits = limits
        self._stream = stream
        socket = stream.socket
        self._client = parse_socket_addr(socket.family, socket.getpeername())
        self._server = parse_socket_addr(socket.family, socket.getsockname())
        self._protocol: H11Protocol
        self._reading = trio.CancelScope()
        self._reading_ahead = trio.CancelScope()
        self._lingering = trio.CancelScope()
        self._sender = Sender(stream, limits.send_timeout)
        self._answered_for_good = False
        self._idle_timeout = limits.head_timeout
        self._head_due = inf
        self._body_patience = limits.body_timeout

    async def run(self) -> None:
        """Serves the client until it leaves or is left, and the app has ended."""
        async with trio.open_nursery() as nursery:
            try:
                self._protocol = self._open_protocol(nursery)
                await self._converse()
            except ClientGone:
                pass
            except Exception:  # noqa: BLE001 - one client's connection must not end the server
                _log.exception("http.connection_failed")
            finally:
                self._stream.socket.close()

    def drain(self) -> None:
        """No further request is served; without one under way the connection ends at once."""
        if self._protocol.idle:
            self._reading.cancel()
        latest = trio.current_time() + self._limits.linger_timeout_draining
        self._lingering.deadline = min(self._lingering.deadline, latest)

    def _open_protocol(self, nursery: trio.Nursery) -> H11Protocol:
        return H11Protocol(
            app=cast("AppWrapper", self._app),
            config=self._config,
            context=self._context,
            task_group=TaskGroup(nursery, self._want_body),
            connection_state=ConnectionState({}),
            ssl=False,
            client=self._client,
            server=self._server,
            send=self._take,
        )

    async def _want_body(self) -> None:
        with suppress(ClientGone):  # which the app is told as the disconnect
            await self._protocol.want_body()

    async def _converse(self) -> None:
        try:
            with self._reading:
                await self._read()
            if self._reading.cancelled_caught and self._protocol.head_incomplete:
                await self._protocol.refuse(408, "The head of the request took too long.")
            if self._answered_for_good and self._protocol.has_unread_input:
                await self._linger()
        finally:
            await self._protocol.handle(Closed())

    async def _read(self) -> None:
        while (data := await self._receive()) != b"":
            if self._reading.cancel_called:
                return  # what came in the last moment is not begun
            # Time that the app takes is not the client's.
            self._set_deadline(inf)
            if data is None:
                await self._protocol.resume()
            else:
                await self._protocol.handle(RawData(data))

    async def _receive(self) -> bytes | None:
        """What came; nothing when the client has gone; None when a paused protocol may go on."""
        self._set_deadline(self._due())
        try:
            if self._protocol.paused:
                return await self._receive_ahead()
            if self._protocol.awaits_body:
                return await self._receive_body()
            return await self._stream.receive_some(_HEAD_READ)
        except trio.BrokenResourceError:
            return b""

    async def _receive_ahead(self) -> bytes | None:
        with trio.CancelScope() as self._reading_ahead:
            if self._protocol.buffered >= _READ_AHEAD:
                await trio.sleep_forever()
            return await self._stream.receive_some(_HEAD_READ)
        return None

    async def _receive_body(self) -> bytes:
        began = trio.current_time()
        data = await self._stream.receive_some(_BODY_READ)
        self._body_patience -= trio.current_time() - began
        self._body_patience += len(data) / self._limits.body_rate
        return data

    def _due(self) -> float:
        """When what the client owes now must have come."""
        now = trio.current_time()
        if self._protocol.awaits_body:
            return now + self._body_patience
        if self._protocol.stream is not None:
            return inf
        if self._protocol.idle:
            return now + self._idle_timeout
        self._head_due = min(self._head_due, now + self._limits.head_timeout)
        return self._head_due

    def _set_deadline(self, deadline: float) -> None:
        # Setting it costs a microsecond or two, also to what it is already.
        if deadline != self._reading.deadline:
            self._reading.deadline = deadline

    async def _take(self, event: Event) -> None:
        """What the protocol sends: bytes, that now the client owes something, its farewell."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Updated):
            if event.idle:
                self._await_next_request()
            self._set_deadline(self._due())
        else:
            self._answered_for_good = True
            self._reading.cancel()

    async def _send(self, data: bytes) -> None:
        try:
            await self._sender.send(data)
        except BaseException:
            self._reading.cancel()
            raise

    def _await_next_request(self) -> None:
        self._idle_timeout = self._limits.keep_alive_timeout
        self._head_due = inf
        self._body_patience = self._limits.body_timeout
        self._reading_ahead.cancel()

    async def _linger(self) -> None:
        """Reads on, without a use for it, so that the answer isn't lost in a reset."""
        draining = self._context.terminated.is_set()
        patience = self._limits.linger_timeout_draining if draining else self._limits.linger_timeout
        try:
            await self._stream.send_eof()
            self._lingering.deadline = trio.current_time() + patience
            with self._lingering:
                while await self._stream.receive_some(_BODY_READ):
                    pass
        except trio.BrokenResourceError:
            pass
