"""HTTP/1.1 without a socket: bytes and requests in, bytes out."""

import re
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from itertools import count
from typing import Any, NamedTuple, cast

import h11
import trio
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Body, EndBody, Request, Response, StreamClosed
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import STREAM_ID
from hypercorn.protocol.h11 import H11Protocol as HypercornH11Protocol

from ash.http.asgi import JSON_HEADERS, error_body
from ash.http.server.http_stream import Flush, HTTPStream

# The headers that h11 must see: how the body is framed, and whether the connection stays open.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})

# In these states of the client nothing more of it is read.
_READS_NO_MORE = frozenset({h11.MUST_CLOSE, h11.CLOSED, h11.ERROR})

# In these states of the server a response can still begin.
_ANSWERABLE = frozenset({h11.IDLE, h11.SEND_RESPONSE})

# After so many events other tasks get their turn. A body may come in chunks of one byte:
# thousands in one read, at 10 µs each.
_EVENTS_AT_ONCE = 50

# A server ignores empty lines before a request line (RFC 9112, 2.2). There is a bound, as each of
# them keeps a connection open that asks for nothing.
_MAX_EMPTY_LINES = 8
# Browsers and proxies send 40 at most. Parsing 3,000 would take 30 ms of the event loop.
_MAX_HEAD_LINES = 200

_EMPTY_LINES = re.compile(rb"(?:\r?\n)*")

# What h11 says of a header that it refuses. It quotes the line as Python writes it.
_ILLEGAL_HEADER = re.compile(
    r"illegal header line: bytearray\(b['\"](?P<name>[\w!#$%&*+.^`|~-]+):.*?(?P<bad>\\r|\\x\w\w)"
)

# Clients don't need the phrase by the standard, but some show it, and some fail without it.
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class ResponseHead(NamedTuple):
    """The head of a response, before it is sent."""

    framing: h11.Response
    other_lines: bytes


def build_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> ResponseHead:
    """Raises h11.LocalProtocolError for a header that can't be sent.

    h11 would check each header of a response three times, which takes 20 µs for five headers.
    The headers that it need not see are checked once here, and the result is cached.
    """
    framing, other_lines = [], []
    for name, value in headers:
        if name.lower() in _FRAMING:
            framing.append((name, value))
        else:
            other_lines.append(_line(name, value))
    response = h11.Response(status_code=status, headers=framing, reason=_REASONS.get(status, b""))
    return ResponseHead(response, b"".join(other_lines))


def send_head(connection: h11.Connection, head: ResponseHead) -> bytes:
    """The bytes of the head. `connection` is then in the state that the head brings about."""
    framing = connection.send(head.framing)
    return b"%s%s\r\n" % (framing.removesuffix(b"\r\n"), head.other_lines)


@lru_cache(maxsize=256)
def _line(name: bytes, value: bytes) -> bytes:
    h11.Response(status_code=200, headers=[(name, value)])
    return b"%s: %s\r\n" % (name, value)


@lru_cache(maxsize=1)
def _keep_alive_lines(timeout: float) -> bytes:
    """A second less than the connection has, so that no client sends while it is being closed."""
    seconds = int(timeout) - 1
    if seconds < 1:
        return b""
    return b"connection: keep-alive\r\nkeep-alive: timeout=%d\r\n" % seconds


class H11Protocol(HypercornH11Protocol):
    """Hypercorn's h11 protocol with changes.

    It collects the bytes of one message of the app, so that they are one write. It refuses bad
    requests with the body of all errors. It has neither websockets nor HTTP/2. When a client
    sends its next request too early it sets `paused` and returns; Hypercorn's waits there, and
    nobody notices when the client leaves.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._h11 = cast("h11.Connection", self.connection)
        self._empty_lines = 0
        self._half_closed = False
        self._head: ResponseHead | None = None
        self._collected: list[bytes] = []
        self.paused = False

    @property
    def buffered(self) -> int:
        """How many bytes have arrived and are not parsed yet."""
        return len(self._h11.trailing_data[0])

    @property
    def idle(self) -> bool:
        """Whether no byte of a request is here."""
        return self.stream is None and self.buffered == 0

    @property
    def head_incomplete(self) -> bool:
        return self.stream is None and self._h11.our_state is h11.IDLE and self.buffered > 0

    @property
    def awaits_body(self) -> bool:
        """Whether the client has to send more of a body, and knows that it may."""
        return self._body_incomplete and not self._h11.they_are_waiting_for_100_continue

    @property
    def is_answering(self) -> bool:
        """Whether a request that has arrived completely is being answered."""
        return self.stream is not None and not self._body_incomplete

    @property
    def has_unread_input(self) -> bool:
        """Whether the client may be sending bytes that nobody will read."""
        return self.buffered > 0 or self._body_incomplete or self._h11.their_state is h11.ERROR

    @property
    def _body_incomplete(self) -> bool:
        return self._h11.their_state is h11.SEND_BODY

    async def handle(self, event: Event) -> None:
        if isinstance(event, RawData) and self._h11.their_state in _READS_NO_MORE:
            return
        await super().handle(event)

    async def resume(self) -> None:
        """Parses what arrived while `paused`."""
        await self._handle_events()

    async def half_close(self) -> None:
        """Notes that the client sends no more, and tells the app that answers its request."""
        self._half_closed = True
        if self.is_answering and isinstance(self.stream, HTTPStream):
            await self.stream.half_close()

    async def want_body(self) -> None:
        """Sends "100 Continue" to a client that waits for it: now the app reads the body."""
        if self._h11.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[], reason=_REASONS[100])
            await self.send(RawData(self._h11.send(go_on)))
            await self.send(Updated(idle=False))

    async def refuse(self, status: int, text: str) -> None:
        """Ends the connection, with an error response if none has begun."""
        if self._h11.our_state in _ANSWERABLE:
            await self._close_stream()
            await self._answer(status, text)
        await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        if isinstance(event, Body):
            self._collect(h11.Data(data=event.data))
        elif isinstance(event, Flush):
            await self._flush()
        elif isinstance(event, Response):
            self._head = self._build_head(event)
        elif isinstance(event, EndBody):
            self._collect(h11.EndOfMessage())
        elif isinstance(event, StreamClosed):
            await self._flush()
            await self._maybe_recycle()

    async def _handle_events(self) -> None:
        self.paused = False
        for number in count(1):
            if number % _EVENTS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            try:
                event = self._next_event()
            except h11.RemoteProtocolError as error:
                await self.refuse(error.error_status_hint, _describe(error))
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                self.paused = event is h11.PAUSED
                return
            await self._pass_on(event)

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        if self._h11.their_state in _READS_NO_MORE:
            return h11.NEED_DATA
        if self._between_requests:
            self._skip_empty_lines()
            self._check_lines()
            if self._h11.trailing_data[0] == b"\r":
                return h11.NEED_DATA  # half of an empty line; h11 would refuse it
        event = self._h11.next_event()
        if isinstance(event, h11.Request):
            self._empty_lines = 0
            _check(event)
        return event

    @property
    def _between_requests(self) -> bool:
        return self._h11.their_state is h11.IDLE and self._h11.our_state is h11.IDLE

    def _skip_empty_lines(self) -> None:
        """Drops the empty lines. If there are too many they stay, and h11 refuses them."""
        data = self._h11.trailing_data[0]
        rest = _EMPTY_LINES.sub(b"", data, count=1)
        self._empty_lines += data.count(b"\n") - rest.count(b"\n")
        if len(rest) < len(data) and self._empty_lines <= _MAX_EMPTY_LINES:
            # h11 can't drop bytes. Between two requests a new connection is as good as the old.
            self._h11 = self.connection = h11.Connection(
                h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
            )
            if rest:  # h11 would take no bytes for the end of the connection
                self._h11.receive_data(rest)

    def _check_lines(self) -> None:
        """Raises RemoteProtocolError for a head of very many lines, before each is parsed."""
        data = self._h11.trailing_data[0]
        if len(data) > _MAX_HEAD_LINES:
            end = data.find(b"\r\n\r\n")
            if data.count(b"\n", 0, len(data) if end < 0 else end) > _MAX_HEAD_LINES:
                raise h11.RemoteProtocolError("Too many headers", error_status_hint=431)

    async def _pass_on(self, event: Any) -> None:
        if isinstance(event, h11.Request):
            await self._create_stream(event)
        elif self.stream is None:
            pass  # the request has been answered; the rest of its body is dropped
        elif isinstance(event, h11.Data):
            await self.stream.handle(Body(stream_id=STREAM_ID, data=event.data))
        elif isinstance(event, h11.EndOfMessage):
            await self.stream.handle(EndBody(stream_id=STREAM_ID))

    async def _create_stream(self, request: h11.Request) -> None:
        self.stream = HTTPStream(
            self.app,
            self.config,
            self.context,
            self.task_group,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            STREAM_ID,
        )
        await self.stream.handle(
            Request(
                stream_id=STREAM_ID,
                headers=list(request.headers),
                http_version=request.http_version.decode(),
                method=request.method.decode("ascii").upper(),
                raw_path=request.target,
                state=self.connection_state,
            )
        )

    def _build_head(self, response: Response) -> ResponseHead:
        headers = [*response.headers, *self.config.response_headers("h11")]
        is_last = self._half_closed and not self.buffered
        if is_last or self._body_incomplete or self.context.terminated.is_set():
            headers.append((b"connection", b"close"))
            return build_head(response.status_code, headers)
        framing, other_lines = build_head(response.status_code, headers)
        return ResponseHead(framing, other_lines + self._keep_alive())

    def _keep_alive(self) -> bytes:
        """Says how long the connection stays open, if it does and if the client knows of it."""
        if self._h11.their_state is not h11.DONE:
            return b""  # the client has asked for the end, or is one of HTTP/1.0
        return _keep_alive_lines(self.config.keep_alive_timeout)

    def _collect(self, event: h11.Data | h11.EndOfMessage) -> None:
        self._collect_head()
        self._collected.append(self._h11.send(event))

    def _collect_head(self) -> None:
        if self._head is not None:
            head, self._head = self._head, None
            self._collected.append(send_head(self._h11, head))

    async def _flush(self) -> None:
        self._collect_head()
        data = b"".join(self._collected)
        self._collected.clear()
        if data:
            await self.send(RawData(data))

    async def _answer(self, status: int, text: str) -> None:
        body = error_body(status, text)
        headers = [
            *JSON_HEADERS,
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *self.config.response_headers("h11"),
        ]
        self._head = build_head(status, headers)
        with suppress(h11.LocalProtocolError):  # a response to HEAD has no body
            self._collect(h11.Data(data=body))
        await self._flush()


def plain_error(status: int, text: str) -> bytes:
    """A whole response, for a connection that ends with it."""
    body = error_body(status, text)
    ours = [(b"content-length", str(len(body)).encode()), (b"connection", b"close")]
    lines = b"".join(_line(name, value) for name, value in [*JSON_HEADERS, *ours])
    return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, _REASONS[status], lines, body)


def _check(request: h11.Request) -> None:
    """Raises RemoteProtocolError for requests that h11 accepts and this server does not."""
    if request.http_version not in {b"1.0", b"1.1"}:
        raise h11.RemoteProtocolError("Only HTTP/1.0 and HTTP/1.1 are spoken", 505)
    if request.method == b"CONNECT":
        raise h11.RemoteProtocolError("CONNECT is not offered", 501)
    names = {name for name, _ in request.headers}
    if names >= {b"transfer-encoding", b"content-length"}:
        # A proxy in front might see another end of the request: then one could be smuggled.
        raise h11.RemoteProtocolError("Both Content-Length and Transfer-Encoding are given", 400)


def _describe(error: h11.RemoteProtocolError) -> str:
    # From there on h11 quotes what the client sent.
    reason = str(error).partition(": bytearray(")[0]
    if error.error_status_hint == 431:
        return "The head of the request is too large."
    if illegal := _ILLEGAL_HEADER.match(str(error)):
        # The value may be a key, so it is not shown.
        reason += (
            f", {illegal['name']} holds {illegal['bad']}: trim a value that is read from a file"
        )
    return f"The request is not valid HTTP: {reason}."
