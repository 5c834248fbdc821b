"""One request: its body on the way to the app, the run of the app, and its response."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.protocol.events import Body, EndBody, Event, Response
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.http_stream import HTTPStream as HypercornHTTPStream
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from hypercorn.utils import suppress_body

from ash.http.asgi import HALF_CLOSED, JSON_HEADERS, UNEXPECTED, error_body
from ash.http.server.sender import ClientGone
from ash.log import get_logger

_log = get_logger()


@dataclass(frozen=True)
class Flush(Event):
    """Asks the protocol to write what it has collected, in one piece."""


class HTTPStream(HypercornHTTPStream):
    """Hypercorn's ASGI state machine with three changes.

    Each `http.response.body` is one write, and the first includes the head. An app that ends
    without a response gets a 500 with the body of all errors. An app that sends to a client that
    has left gets ClientGone.
    """

    begun = False

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            await self._finish()
        elif self.closed and self.state is not ASGIHTTPState.CLOSED:
            raise ClientGone
        else:
            await self._pass_on(message)

    async def half_close(self) -> None:
        await self.app_put(cast("ASGIReceiveEvent", {"type": HALF_CLOSED}))

    async def _pass_on(self, message: ASGISendEvent) -> None:
        is_body = message["type"] == "http.response.body"
        self.begun = self.begun or is_body
        await super().app_send(message)
        if is_body and self.state is ASGIHTTPState.RESPONSE:
            await self.send(Flush(stream_id=self.stream_id))
            # A write that need not wait is no checkpoint; an app that writes on and on needs one.
            await trio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        if not self.begun:
            # The head is sent with the first part of the body. A 500 can still replace it.
            self.state = ASGIHTTPState.REQUEST
        await super().app_send(None)

    async def _send_error_response(self, status_code: int) -> None:
        body = error_body(status_code, UNEXPECTED)
        length = str(len(body)).encode()
        headers = [*JSON_HEADERS, (b"content-length", length)]
        await self.send(
            Response(stream_id=self.stream_id, headers=headers, status_code=status_code)
        )
        if not suppress_body(self.scope["method"], status_code):
            await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED


# As much as one read of a connection: so at most two reads of a body wait for the app.
_ENOUGH = 64 * 1024


class RequestBody:
    """A request's body on its way to the app, bounded in memory and ended by the disconnect.

    Between the two the app may get HALF_CLOSED, once.

    It takes the place of Hypercorn's memory channel, whose `put` of the disconnect blocks for
    ever when the app has ended without reading its body. `want_body` is called when the app asks
    for a body of which nothing has arrived yet.
    """

    def __init__(self, want_body: Callable[[], Awaitable[None]]) -> None:
        self._want_body = want_body
        self._parts: list[bytes] = []
        self._size = 0
        self._complete = False
        self._handed_over = False
        self._half_closed = False
        self._gone = False
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Adds a part of the body, or the disconnect; waits while the app has enough to read."""
        if message["type"] == "http.request":
            self._parts.append(message["body"])
            self._size += len(message["body"])
            self._complete = not message["more_body"]
        elif message["type"] == HALF_CLOSED:
            self._half_closed = True
        else:
            self._gone = True
            self._room.unpark_all()
        self._news.unpark_all()
        while self._size > _ENOUGH and not self._gone:
            await self._room.park()

    async def receive(self) -> ASGIReceiveEvent:
        """All of the body that has arrived, in one event; after the whole body, what follows."""
        if not self._has_news():
            await self._want_body()
        while not self._has_news():
            await self._news.park()
        if self._half_closed and self._handed_over and not self._gone:
            self._half_closed = False
            return cast("ASGIReceiveEvent", {"type": HALF_CLOSED})
        if self._handed_over or not (self._parts or self._complete):
            # An app that asks again and again must not block the loop.
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}
        return self._take()

    def _has_news(self) -> bool:
        if self._handed_over:
            return self._gone or self._half_closed
        return bool(self._parts) or self._gone or self._complete

    def _take(self) -> ASGIReceiveEvent:
        body = b"".join(self._parts)
        self._parts.clear()
        self._size = 0
        self._handed_over = self._complete
        self._room.unpark_all()
        return {"type": "http.request", "body": body, "more_body": not self._complete}


class TaskGroup:
    """Runs the app once for each request, in the connection's nursery.

    It takes the place of Hypercorn's `TaskGroup`.
    """

    def __init__(self, nursery: trio.Nursery, want_body: Callable[[], Awaitable[None]]) -> None:
        self._nursery = nursery
        self._want_body = want_body

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        body = RequestBody(self._want_body)
        self._nursery.start_soon(_run, cast("ASGIFramework", app), scope, body, send)
        return body.put


async def _run(
    app: ASGIFramework,
    scope: Scope,
    body: RequestBody,
    send: Callable[[ASGISendEvent | None], Awaitable[None]],
) -> None:
    try:
        await app(scope, body.receive, cast("ASGISendCallable", send))
    except* ClientGone:
        pass
    except* Exception:  # noqa: BLE001 - one request's failure must not end the server
        # Without the query, which may hold a stream's ticket.
        _log.exception("http.app_failed", path=scope.get("path"))
    with suppress(ClientGone):
        await send(None)
