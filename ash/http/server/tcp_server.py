"""One client's connection."""

import os
from contextlib import suppress
from math import inf
from select import epoll
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr
from msgspec import Struct

from ash.http.asgi import IDENTIFY
from ash.http.server.connections import Connections, site
from ash.http.server.h11_protocol import H11Protocol, plain_error
from ash.http.server.http_stream import TaskGroup
from ash.http.server.sender import ClientGone, Sender
from ash.log import get_logger

# How much is read at once. Parsing a head of tiny headers blocks the loop for 0.4 ms a KiB.
_HEAD_READ = 16 * 1024
_BODY_READ = 64 * 1024
# How much of later requests is read while an earlier one is being answered.
_READ_AHEAD = 64 * 1024

_CROWDED = "There are too many connections: send the request's head at once, with a key."

_log = get_logger()


class ConnectionLimits(Struct, frozen=True, kw_only=True):
    """How long a connection waits for its client, in seconds; what it buffers, in bytes."""

    keep_alive_timeout: float = 600.0
    """Between a response and the next request. Longer than proxies keep an unused connection:
    one that ends first resets the request that a proxy sends at that moment."""

    head_timeout: float = 30.0
    """From a request's first byte to the end of its head. Also for a connection's first byte."""

    body_timeout: float = 30.0
    """For a request's body: all waits for the client added up. Time that the app takes is not
    counted."""

    body_rate: float = 1024.0
    """Each byte of the body adds 1/body_rate seconds to that, as Apache's MinRate does. A phone on
    a slow network can send 50 MB; a client that drips bytes is cut."""

    send_timeout: float = 30.0
    """Until the client takes a byte when the send buffer is full."""

    linger_timeout: float = 10.0
    """How long the client's bytes are still read after a response that ends the connection before
    all of the request was read. Closing at once would reset the connection, and the client might
    never see the response."""

    linger_timeout_draining: float = 1.0
    """The same while the server shuts down: long enough for a response under way to arrive."""

    max_head: int = 16 * 1024
    """Request line and headers, as in Node. One read, of 16 KiB, may exceed it."""

    max_connections: int = 4096
    """Of all clients, at a time."""


DEFAULT_LIMITS = ConnectionLimits()


async def _hung_up(socket: trio.socket.SocketType) -> None:
    """Returns when the peer has closed both directions, or has reset the connection."""
    with epoll() as watched:
        # No events are asked for: these two are always reported.
        watched.register(socket.fileno(), 0)
        await trio.lowlevel.wait_readable(watched.fileno())


class TCPServer:
    """One client's connection: moves bytes between socket and protocol, and watches the clock.

    It takes the place of Hypercorn's `TCPServer`, and owns the socket and the nursery in which
    the app runs once for each request. One task reads all the time, so a client that leaves is
    noticed at once, or at the first byte that is sent to it. That task has one deadline, which
    depends on what the client has to send next: a head, a body, or another request. To end the
    connection is to cancel `_reading`; then the reading task closes the socket. Nothing is
    shielded, so no client can delay cancellation.
    """

    def __init__(
        self,
        app: ASGIFramework,
        config: Config,
        context: WorkerContext,
        limits: ConnectionLimits,
        stream: trio.SocketStream,
        *,
        connections: Connections,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._limits = limits
        self._stream = stream
        self._connections = connections
        socket = stream.socket
        self._client = parse_socket_addr(socket.family, socket.getpeername())
        self._server = parse_socket_addr(socket.family, socket.getsockname())
        self.site = site(self._client[0]) if self._client else ""
        self._protocol: H11Protocol
        self._all = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._reading_ahead = trio.CancelScope()
        self._lingering = trio.CancelScope()
        self._sender = Sender(stream, limits.send_timeout)
        self._answered_for_good = False
        self._idle_timeout = limits.head_timeout
        self._head_due = inf
        self._body_patience = limits.body_timeout

    async def run(self) -> None:
        """Serves the client until one side ends the connection and the app has ended."""
        self._connections.admit(self)
        try:
            with self._all:
                await self._serve()
        finally:
            self._connections.leave(self)

    async def _serve(self) -> None:
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
        """Serves no further request. A connection without one under way ends at once."""
        if self._protocol.idle:
            self._reading.cancel()
        latest = trio.current_time() + self._limits.linger_timeout_draining
        self._lingering.deadline = min(self._lingering.deadline, latest)

    @property
    def idle_until(self) -> float | None:
        """When the connection ends for want of a request; None if one is under way."""
        return self._reading.deadline if self._protocol.idle else None

    def evict(self) -> None:
        """Ends the connection at once. A client that has begun a request is told why."""
        if self._protocol.head_incomplete:
            with suppress(OSError):
                os.write(self._stream.socket.fileno(), plain_error(503, _CROWDED))
        self._all.cancel()

    def _identify(self, tenant: str) -> None:
        self._connections.identify(self, tenant)

    def _open_protocol(self, nursery: trio.Nursery) -> H11Protocol:
        return H11Protocol(
            app=cast("AppWrapper", self._app),
            config=self._config,
            context=self._context,
            task_group=TaskGroup(nursery, self._want_body),
            connection_state=ConnectionState({IDENTIFY: self._identify}),
            ssl=False,
            client=self._client,
            server=self._server,
            send=self._handle,
        )

    async def _want_body(self) -> None:
        with suppress(ClientGone):  # the app receives a disconnect event instead
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
                return  # a request that arrives while the connection ends is not begun
            # The protocol may wait for the app, which is not the client's fault.
            self._set_deadline(inf)
            if data is None:
                await self._protocol.resume()
            else:
                await self._protocol.handle(RawData(data))
        self._set_deadline(inf)
        await self._answer_half_closed()

    async def _answer_half_closed(self) -> None:
        """Answers a client that has sent its requests and closed its half, as `nc -N` does.

        A client that has left looks the same until something is sent to it, which it refuses by a
        reset. So the app is told, and a stream of events sends a ping at once.
        """
        await self._protocol.half_close()
        while self._protocol.is_answering:
            with trio.CancelScope() as self._reading_ahead:
                await _hung_up(self._stream.socket)
                return
            if self._protocol.paused:
                await self._protocol.resume()

    async def _receive(self) -> bytes | None:
        """Bytes; none when the client has left; None when a paused protocol may go on."""
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
        """By when the client must have sent what it has to send next."""
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
        # Setting a deadline costs 1 to 2 µs, even to the value that it has.
        if deadline != self._reading.deadline:
            self._reading.deadline = deadline

    async def _handle(self, event: Event) -> None:
        """Handles an event of the protocol: bytes to send, a change of state, or the end."""
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
        """Reads and drops what still comes, so that no reset destroys the response."""
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
