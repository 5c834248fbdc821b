"""One connection from inside a sandbox: its requests, and the answers it gets."""

import h11
import msgspec
import trio

from ash.egress.errors import Malformed, Traffic
from ash.egress.headers import Headers

CHUNK = 64 * 1024

# A head, or the head of a chunk. The CLI's are below 2 KB.
MAX_HEAD = 32 * 1024

# Of what is wrong with a request: the request itself may be part of it.
MAX_WORDS = 300

# A kept connection without a request, or one whose head doesn't get finished.
IDLE_SECONDS = 300

# A client that takes nothing for so long, with an answer waiting, is given up.
STALL_SECONDS = 300

# Closing on bytes that were not read takes back the answer that was sent before: so what the
# client still sends is read for a moment.
LINGER_SECONDS = 1


_FRAMING = {b"content-length", b"transfer-encoding"}


class ProxyConnection:
    """The proxy's side of it, one request at a time.

    Any method may raise BrokenResourceError when the client has left, TooSlowError when it
    takes nothing, and Malformed when it does not speak HTTP/1.1.
    """

    def __init__(self, stream: trio.SocketStream, traffic: Traffic) -> None:
        self._stream = stream
        self._traffic = traffic
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self._request_read = trio.Event()
        self._wants_body = True

    async def request(self) -> h11.Request | None:
        """The head of the next request, or None when there will be no further one."""
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
        """Returns when the client has left, or has said that it sends nothing more.

        Waits for the request to be read first. A client that goes on to the next request
        before it has its answer is not watched: what it sends must not pile up here.
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

    async def begin(self, status: int, headers: Headers) -> None:
        """The head of the answer."""
        await self._send(h11.Response(status_code=status, headers=headers))

    async def send(self, chunk: bytes) -> None:
        if self._wants_body:
            self._traffic.received += len(chunk)
            await self._send(h11.Data(chunk))

    async def end(self) -> None:
        await self._send(h11.EndOfMessage())

    async def fail(self, status: int, text: str) -> None:
        """The whole answer, with the body that all errors of ash have."""
        body = msgspec.json.encode({"error": text, "statusCode": status})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            # The SDKs' word for: the same request would be answered the same.
            (b"x-should-retry", b"true" if status >= 500 else b"false"),
        ]
        await self.begin(status, headers)
        await self.send(body)
        await self.end()

    async def switch(self) -> tuple[trio.SocketStream, bytes]:
        """Says yes to CONNECT; from then on the bytes are the caller's, the first ones included."""
        await self._send(
            h11.Response(status_code=200, headers=[], reason=b"Connection established")
        )
        return self._stream, self._http.trailing_data[0]

    async def linger(self) -> None:
        """Ends the answers, and reads on for a moment."""
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
