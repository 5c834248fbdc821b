"""Runs the app for each request of a connection, and hands it the request's body."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.typing import (
    AppWrapper,
    ASGIFramework,
    ASGIReceiveEvent,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

from ash.http.server.sender import ClientGone
from ash.log import get_logger

# As much as one read of a connection: so at most two reads of a body wait for the app.
_ENOUGH = 64 * 1024

_log = get_logger()


class RequestBody:
    """A request's body on its way to the app, bounded in memory and ended by the disconnect.

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
        self._gone = False
        self._news = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()

    async def put(self, message: ASGIReceiveEvent) -> None:
        """Adds a part of the body, or the disconnect; waits while the app has enough to read."""
        if message["type"] == "http.request":
            self._parts.append(message["body"])
            self._size += len(message["body"])
            self._complete = not message["more_body"]
        else:
            self._gone = True
            self._room.unpark_all()
        self._news.unpark_all()
        while self._size > _ENOUGH and not self._gone:
            await self._room.park()

    async def receive(self) -> ASGIReceiveEvent:
        """All of the body that has arrived, in one event; after the whole body, the disconnect."""
        if not self._has_news():
            await self._want_body()
        while not self._has_news():
            await self._news.park()
        if self._handed_over or not (self._parts or self._complete):
            # An app that asks again and again must not block the loop.
            await trio.lowlevel.checkpoint()
            return {"type": "http.disconnect"}
        return self._take()

    def _has_news(self) -> bool:
        return bool(self._parts) or self._gone or (self._complete and not self._handed_over)

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
