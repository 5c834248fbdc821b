"""CORS: lets pages of other origins call the API. Every response carries the headers."""

from collections.abc import Sequence

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    HTTPScope,
    Scope,
)

from ash.http.asgi import header, send_empty

_PREFLIGHT = [
    (b"access-control-allow-methods", b"GET, POST, PATCH, DELETE, OPTIONS"),
    (b"access-control-max-age", b"86400"),
]
# What the routes read.
_READ = b"Authorization, Content-Type, Last-Event-ID"
_EXPOSED = (
    b"access-control-expose-headers",
    b"Retry-After, X-Ash-Source, Content-Disposition, Location",
)


class Cors:
    """Wraps an app and answers preflight requests itself.

    Requests are authorised by a key, never by a cookie, so `*` as an origin gives nothing away.
    """

    def __init__(self, app: ASGIFramework, origins: Sequence[str]) -> None:
        self._app = app
        self._any = "*" in origins
        self._origins = {origin.encode() for origin in origins}

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = self._headers(scope)

        async def send_with_cors(event: ASGISendEvent) -> None:
            if event["type"] == "http.response.start":
                event["headers"] = [*event["headers"], *headers]
            await send(event)

        if scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method"):
            await send_empty(send, _preflight(scope, headers))
            return
        await self._app(scope, receive, send_with_cors)

    def _headers(self, scope: HTTPScope) -> list[tuple[bytes, bytes]]:
        if self._any:
            return [(b"access-control-allow-origin", b"*"), _EXPOSED]
        origin = header(scope, b"origin")
        if origin is None or origin not in self._origins:
            return [(b"vary", b"Origin")]
        return [(b"access-control-allow-origin", origin), (b"vary", b"Origin"), _EXPOSED]


def _preflight(scope: HTTPScope, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Allows the headers that the page asks for. Tracing adds some, which no route reads.

    A browser whose origin is not allowed sends no request, whatever headers the answer has.
    """
    allowed = [pair for pair in headers if pair is not _EXPOSED]
    asked = header(scope, b"access-control-request-headers") or _READ
    return [*allowed, *_PREFLIGHT, (b"access-control-allow-headers", asked)]
