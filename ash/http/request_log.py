"""A line in the log for each request, at the level debug only: it costs every part of a stream."""

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)

from ash.log import get_logger

log = get_logger()


class RequestLog:
    """An ASGI app around another one. No query is logged, since it may hold a ticket."""

    def __init__(self, app: ASGIFramework) -> None:
        self._app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = trio.current_time(), 0

        async def noting(event: ASGISendEvent) -> None:
            nonlocal status
            if event["type"] == "http.response.start":
                status = event["status"]
            await send(event)

        try:
            await self._app(scope, receive, noting)
        finally:
            seconds = round(trio.current_time() - began, 3)
            log.debug(
                "http.request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                seconds=seconds,
            )
