"""One connection from a sandbox to its proxy: reads requests and sends answers."""

import h11
import msgspec
import trio
from msgspec import Struct

from ash.egress.errors import Malformed
from ash.egress.headers import Headers, proxy_status, reason_phrase

CHUNK = 64 * 1024

# The largest head of a request, and of a chunk. The CLI's heads are below 2 KB.
MAX_HEAD = 32 * 1024

# The longest error text, because it may quote the request.
MAX_WORDS = 300

# A connection is closed if the head of its next request has not come by then.
IDLE_SECONDS = 300

# A client that reads nothing of its answer for so long is given up.
STALL_SECONDS = 300

# How long we read on before closing. If a connection is closed with unread bytes, the kernel
# resets it, and the client may lose the answer.
LINGER_SECONDS = 1

_FRAMING = {b"content-length", b"transfer-encoding"}


class Traffic(Struct):
    """Counts what went through one sandbox's proxy. Bytes are those of bodies and tunnels."""

    model_calls: int = 0
    hosts: int = 0
    refused: int = 0
    sent: int = 0
    received: int = 0


class ProxyConnection:
    """The proxy's side of a connection, one request at a time.

    Any method may raise BrokenResourceError when the client has left, TooSlowError when it reads
    nothing, and Malformed when it does not speak HTTP/1.1.
    """

    def __init__(self, stream: trio.SocketStream, traffic: Traffic) -> None:
        self._stream = stream
        self._traffic = traffic
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request_read = trio.Event()
        self._wants_body = True

    async def request(self) -> h11.Request | None:
        """The head of the next request, or None if no further one will come."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        if self._http.our_state is not h11.IDLE:
            return None
        with trio.move_on_after(IDLE_SECONDS):
            event = await self._event()
            if isinstance(event, h11.Request):
                await self._begin(event)
                return event
        return None

    async def chunk(self) -> bytes | None:
        """The next part of the request's body, None at its end."""
        if not self._request_read.is_set():
            event = await self._event()
            if isinstance(event, h11.Data):
                self._traffic.sent += len(event.data)
                return bytes(event.data)
            self._request_read.set()
        return None

    async def gone(self) -> None:
        """Returns when the client has closed the connection, or its sending side.

        Waits first until the request has been read. If the client then sends its next request
        early, this waits forever: to go on reading would pile up bytes here.
        """
        await self._request_read.wait()
        if not self._http.trailing_data[0]:
            try:
                early = await self._stream.receive_some(CHUNK)
            except trio.BrokenResourceError:
                return
            if not early:
                return
            self._http.receive_data(early)
        await trio.sleep_forever()

    @property
    def answered(self) -> bool:
        """Whether it is too late for another answer to this request."""
        return self._http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}

    async def begin(self, status: int, headers: Headers, reason: bytes = b"") -> None:
        """Sends the head of the answer."""
        await self._send(h11.Response(status_code=status, headers=headers, reason=reason))

    async def send(self, chunk: bytes) -> None:
        if self._wants_body:
            self._traffic.received += len(chunk)
            await self._send(h11.Data(chunk))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def fail(self, status: int, text: str, *, again: bool = True) -> None:
        """Sends an error as the whole answer, with the same body as all errors of ash.

        Programs that ask for a tunnel don't show the body. pip, wget and Go show the reason
        phrase, `curl -v` all headers. Anthropic's SDKs are told whether it makes sense to try
        again: not if it is the request's own fault, and not without `again`.
        """
        body = msgspec.json.encode({"error": text, "statusCode": status})
        headers = [
            (b"proxy-status", proxy_status(status, text)),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-should-retry", b"true" if status >= 500 and again else b"false"),
        ]
        await self.begin(status, headers, reason_phrase(text))
        await self.send(body)
        await self.end()

    async def switch(self) -> tuple[trio.SocketStream, bytes]:
        """Accepts a CONNECT, and returns the stream with the bytes that were already read."""
        await self._send(
            h11.Response(status_code=200, headers=[], reason=b"Connection established")
        )
        return self._stream, self._http.trailing_data[0]

    async def upgrade(self, headers: Headers) -> tuple[trio.SocketStream, bytes]:
        """Passes on that the host changes the protocol; returns the same as `switch`."""
        await self._send(h11.InformationalResponse(status_code=101, headers=headers))
        return self._stream, self._http.trailing_data[0]

    async def linger(self) -> None:
        """Closes the sending side, and reads on for a moment."""
        with trio.move_on_after(LINGER_SECONDS):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(CHUNK):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _begin(self, request: h11.Request) -> None:
        self._request_read = trio.Event()
        self._wants_body = request.method != b"HEAD"
        if request.http_version not in {b"1.0", b"1.1"}:
            raise Malformed("The request is not HTTP/1.1", 505)
        framing = {name for name, _ in request.headers} & _FRAMING
        if framing == _FRAMING:
            raise Malformed("The request has both Content-Length and Transfer-Encoding")
        if framing and request.method == b"CONNECT":
            raise Malformed("CONNECT has no body")
        if not framing:
            await self.chunk()

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    await self._send(h11.InformationalResponse(status_code=100, headers=[]))
                self._http.receive_data(await self._stream.receive_some(CHUNK))
        except h11.RemoteProtocolError as error:
            _, has_left = self._http.trailing_data
            if has_left:
                raise trio.BrokenResourceError("the client left in mid-request") from None
            words = f"The request is not HTTP/1.1 as it should be: {error}"
            raise Malformed(words[:MAX_WORDS], error.error_status_hint) from None
        return event

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            with trio.fail_after(STALL_SECONDS):
                await self._stream.send_all(data)
