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

from ash.http.http_stream import ClientGone
from ash.http.request_body import RequestBody
from ash.log import get_logger

_log = get_logger()


class TaskGroup:
    """Runs the app once for each request of a connection, in the connection's nursery.

    Stands where Hypercorn has its `TaskGroup`.
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
        # The path without its query: a stream's ticket is in there.
        _log.exception("http.app_failed", path=scope.get("path"))
    with suppress(ClientGone):
        await send(None)
