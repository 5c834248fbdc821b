from contextlib import suppress
from math import inf
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState
from hypercorn.utils import parse_socket_addr

from ash.http.http_stream import ClientGone
from ash.http.limits import ConnectionLimits
from ash.http.protocol import H11Protocol
from ash.http.sender import Sender
from ash.http.task_group import TaskGroup
from ash.log import get_logger

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
