from typing import NamedTuple

import h11
import pytest
import trio

from ash.http.server.server import open_listeners, serve
from ash.http.server.tcp_server import DEFAULT_LIMITS


class Answer(NamedTuple):
    status: int
    headers: dict[bytes, bytes]
    body: bytes


class Client:
    """A client that says each byte itself."""

    def __init__(self, stream, patience):
        self.stream = stream
        self._patience = patience
        self._unread = b""

    async def send(self, data):
        await self.stream.send_all(data)

    async def ask(self, target="/", method="GET", headers="", body=b""):
        """Sends a whole request and reads its answer."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n"
        await self.send(head.encode() + body)
        return await self.answer(method)

    async def read(self):
        """What is there, or comes next; nothing at the end."""
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        with trio.fail_after(self._patience):
            return await self.stream.receive_some()

    async def read_until(self, end):
        data = b""
        while end not in data:
            more = await self.read()
            assert more, f"closed after {data!r}"
            data += more
        return data

    async def read_to_end(self):
        data = b""
        while more := await self.read():
            data += more
        return data

    async def answer(self, method="GET"):
        """The next whole answer; what follows it stays for the next read."""
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
        parser.send(h11.EndOfMessage())
        head, body = None, b""
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(await self.read())
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self._unread = parser.trailing_data[0]
                return Answer(head.status_code, dict(head.headers), body)


class PairListener(trio.abc.Listener):
    """Accepts one end of socket pairs: no network, so that a mock clock tells the time."""

    def __init__(self):
        self._arriving, self._accepting = trio.open_memory_channel(100)
        self.errors = []

    async def connect(self):
        ours, theirs = trio.socket.socketpair()
        await self.offer(theirs)
        return trio.SocketStream(ours)

    async def offer(self, socket):
        await self._arriving.send(socket)

    def offer_now(self, socket):
        self._arriving.send_nowait(socket)

    async def accept(self):
        if self.errors:
            raise self.errors.pop()
        return trio.SocketStream(await self._accepting.receive())

    async def aclose(self):
        self._arriving.close()
        self._accepting.close()


class Server:
    def __init__(self, listener):
        self.listener = listener
        self.draining = trio.Event()
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.clients = []

    async def run(self, app, grace, limits, task_status):
        with self.scope:
            await serve(
                app,
                [self.listener],
                draining=self.draining,
                grace=grace,
                limits=limits,
                task_status=task_status,
            )
        self.ended.set()

    async def connect(self):
        if isinstance(self.listener, PairListener):
            client = Client(await self.listener.connect(), patience=1000)
        else:
            address = self.listener.socket.getsockname()[:2]
            client = Client(await trio.open_tcp_stream(*address), patience=20)
        self.clients.append(client)
        return self.clients[-1]


@pytest.fixture
async def serving(nursery):
    """Starts servers, on socket pairs or (`tcp`) on loopback, and leaves nothing behind."""
    servers = []

    async def start(app, *, grace=10.0, limits=DEFAULT_LIMITS, tcp=False, listener=None):
        if tcp:
            [listener] = await open_listeners("127.0.0.1", 0)
        server = Server(listener or PairListener())
        servers.append(server)
        await nursery.start(server.run, app, grace, limits)
        return server

    yield start
    for server in servers:
        server.scope.cancel()
        await server.ended.wait()
        for client in server.clients:
            await trio.aclose_forcefully(client.stream)
