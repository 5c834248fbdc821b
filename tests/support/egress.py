"""Sockets on loopback: a server outside, a client inside, and the way to the proxy between."""

import h11
import msgspec
import trio

KEY = "sk-ant-the-real-key-0123456789"


class Peer:
    """One end of an HTTP connection, by h11, in whatever order a test wants it."""

    def __init__(self, stream, role):
        self.stream = stream
        self.http = h11.Connection(role)

    async def event(self):
        while (event := self.http.next_event()) is h11.NEED_DATA:
            self.http.receive_data(bytes(await self.stream.receive_some(65536)))
        return event

    async def send(self, *events):
        await self.stream.send_all(b"".join(self.http.send(event) for event in events))

    async def chunk(self):
        """The next bytes of a body, None at its end."""
        event = await self.event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def body(self):
        parts = []
        while (part := await self.chunk()) is not None:
            parts.append(part)
        return b"".join(parts)


class Inside(Peer):
    """A client in the sandbox."""

    def __init__(self, stream):
        super().__init__(stream, h11.CLIENT)

    async def begin(self, method, target, headers=()):
        headers = [("Host", "127.0.0.1:3128"), *headers]
        await self.send(h11.Request(method=method, target=target, headers=headers))

    async def get(self, url):
        """The same for a request in absolute form, as clients send it to a proxy."""
        headers = [("Host", url.split("/")[2])]
        await self.send(h11.Request(method="GET", target=url, headers=headers), h11.EndOfMessage())
        return await self.answer()

    async def ask(self, method, target, headers=(), body=b""):
        """The status, the headers as a dict, and the body of the answer."""
        length = [("Content-Length", str(len(body)))] if body else []
        await self.begin(method, target, [*length, *headers])
        await self.send(h11.Data(body), h11.EndOfMessage())
        return await self.answer()

    async def answer(self):
        head = await self.event()
        assert isinstance(head, h11.Response), head
        headers = {name.decode(): value.decode() for name, value in head.headers}
        return head.status_code, headers, await self.body()

    async def connect(self, target):
        """The status of a CONNECT; with 200 the stream is the tunnel."""
        await self.send(h11.Request(method="CONNECT", target=target, headers=[("Host", target)]))
        await self.send(h11.EndOfMessage())
        return (await self.event()).status_code


class Outside(Peer):
    """A server's side of a connection."""

    def __init__(self, stream):
        super().__init__(stream, h11.SERVER)

    async def answer(self, status, body=b"", headers=()):
        length = ("Content-Length", str(len(body)))
        await self.begin(status, [length, *headers])
        await self.send(h11.Data(body), h11.EndOfMessage())

    async def begin(self, status=200, headers=()):
        await self.send(h11.Response(status_code=status, headers=list(headers)))


class Server:
    """Answers each connection by its handler; what it was asked is in `asked`."""

    def __init__(self, handler):
        self.handler = handler
        self.asked = []
        self.bodies = []
        self.closed = trio.Event()

    async def serve(self, stream):
        async with stream:
            peer = Outside(stream)
            try:
                while isinstance(request := await peer.event(), h11.Request):
                    self.asked.append(request)
                    await self.handler(peer, request, self)
                    if peer.http.their_state is h11.SEND_BODY:
                        await peer.body()
                    if peer.http.our_state is not h11.DONE:
                        break
                    peer.http.start_next_cycle()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass
            finally:
                self.closed.set()

    @property
    def headers(self):
        """Those of the last request."""
        return {name.decode(): value.decode() for name, value in self.asked[-1].headers}


class Proxied:
    """An egress that is being served, and the way to it."""

    def __init__(self, egress, path, log):
        self.egress = egress
        self.path = path
        self.log = log
        self._streams = []

    async def inside(self):
        """A client with a connection that lasts as long as the proxy, if it isn't closed before."""
        self._streams.append(await trio.open_unix_socket(self.path))
        return Inside(self._streams[-1])

    def close(self):
        for stream in self._streams:
            stream.socket.close()

    async def ask(self, method, target, headers=(), body=b""):
        """One request on a connection of its own."""
        async with await trio.open_unix_socket(self.path) as stream:
            return await Inside(stream).ask(method, target, headers, body)

    async def raw(self, data, *, end=False):
        """What comes back for these bytes, up to the end."""
        async with await trio.open_unix_socket(self.path) as stream:
            await stream.send_all(data)
            if end:
                await stream.send_eof()
            return b"".join([bytes(chunk) async for chunk in stream])


async def whole(peer, request, server):
    """A handler: reads the request, says so."""
    server.bodies.append(await peer.body())
    body = b"" if request.method == b"HEAD" else b'{"ok":true}'
    await peer.answer(200, body, [("Content-Type", "application/json")])


def said(answer):
    """The error of an answer that has the body of all errors."""
    status, _, body = answer
    told = msgspec.json.decode(body)
    assert {"error", "statusCode"} == set(told)
    assert status == told["statusCode"]
    return told["error"]
