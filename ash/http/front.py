"""The routes that stream. They are answered in plain ASGI, in front of Quart.

`POST /api/sessions/:id/messages` is the hot one: it runs a turn and sends its frames; `GET` sends
the session's messages. `GET /api/sessions/:id/stream` sends the frames of all turns. Quart serves
all other routes.
"""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qsl

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
)

from ash.errors import AshError, BadRequest, MethodNotAllowed
from ash.http.app import Services
from ash.http.asgi import (
    NO_STORE,
    check_encoding,
    header,
    identify,
    public_error,
    send_empty,
    send_error,
    send_frames,
    too_large,
)
from ash.http.large_bodies import MAX_JSON, held
from ash.http.message_list import MessageLists
from ash.log import get_logger
from ash.requests.messages import MAX_BODY, Options, options
from ash.requests.parsing import MAX_NUMBER
from ash.requests.unknown_fields import refuse_mistyped
from ash.sessions.frame_ring import RingBroken
from ash.sessions.watch import TurnFrames, Watch

log = get_logger()

# What `_PATH` finds, written as Quart writes its routes.
ROUTES = [
    ("POST", "/api/sessions/<session_id>/messages"),
    ("GET", "/api/sessions/<session_id>/messages"),
    ("GET", "/api/sessions/<session_id>/stream"),
]

# With and without a slash at the end, as on all routes of Quart.
_PATH = re.compile(r"/api/sessions/([^/]+)/(messages|stream)/?")

# Soon, as a turn may be running, but not so soon that a crowd of clients meets a daemon that is
# still starting.
RETRY_MS = 1000


class Front:
    """An ASGI app that answers the routes that stream, and hands all other requests on."""

    def __init__(self, services: Services, rest: ASGIFramework) -> None:
        self._services = services
        self._rest = rest
        self._lists = MessageLists(services)

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        match = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match and scope["type"] == "http" and match[2] == "stream":
            await self._get_stream(match[1], scope, receive, send)
        elif match and scope["type"] == "http" and scope["method"] == "POST":
            await self._post_message(match[1], scope, receive, send)
        elif match and scope["type"] == "http" and scope["method"] in {"GET", "HEAD"}:
            await self._lists.send(match[1], scope, send)
        else:
            await self._rest(scope, receive, send)

    async def _post_message(
        self,
        session_id: str,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        """Starts a turn and sends its frames."""
        try:
            tenant = self._services.keys.tenant_of(header(scope, b"authorization"))
            identify(scope, tenant)
            wanted = _message_options(scope["query_string"])
            check_encoding(
                value.decode("latin-1")
                for name, value in scope["headers"]
                if name == b"content-encoding"
            )
            async with _body(receive) as body:
                query = await self._services.message_reader.read(session_id, body)
                turn, ring = await self._services.sessions.send(
                    tenant, session_id, query, wanted.when_busy, resume=wanted.resume
                )
        except Exception as error:  # noqa: BLE001 - every failure becomes a response
            await send_error(send, public_error(error, scope))
            return
        try:
            await self._send(TurnFrames(turn, ring), session_id, receive, send)
        finally:
            if wanted.on_disconnect == "interrupt" and turn.last_frame is None:
                await turn.stop("interrupted")

    async def _get_stream(
        self,
        session_id: str,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        """Sends the frames behind the client's cursor, and those that follow."""
        async with AsyncExitStack() as held:
            try:
                watch = await held.enter_async_context(
                    _open_watch(self._services, session_id, scope)
                )
                hello = _hello(watch)
                # Read before the head is sent: a stream that has ended and has no frame left
                # is a 204.
                first = await watch.read() if watch.is_ending else b""
            except Exception as error:  # noqa: BLE001 - every failure becomes a response
                await send_error(send, public_error(error, scope))
                return
            if watch.is_ending and not first:
                # On a 204 an `EventSource` does not reconnect.
                await send_empty(send, [NO_STORE])
                return
            await self._send(watch, session_id, receive, send, hello + first)

    async def _send(
        self,
        frames: Watch,
        session_id: str,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        first: bytes = b"",
    ) -> None:
        """Sends frames. If that fails the body has no end, by which the client knows it."""
        try:
            await send_frames(frames, receive, send, first)
        except* RingBroken:
            log.info("http.reader_cut", session=session_id)
        except* AshError:
            # The store can't be read.
            log.exception("http.stream_failed", session=session_id)
        finally:
            frames.close()


def _message_options(query: bytes) -> Options:
    return options(dict(parse_qsl(query.decode("latin-1")))) if query else Options()


@asynccontextmanager
async def _body(receive: ASGIReceiveCallable) -> AsyncIterator[bytes]:
    """The whole body. Raises TooLarge over 50 MB, Unavailable if others take the room for it."""
    parts: list[bytes] = []
    size = counted = 0
    try:
        while (event := await receive())["type"] == "http.request":
            parts.append(event["body"])
            size += len(event["body"])
            if size > MAX_BODY:
                raise too_large(MAX_BODY)
            if size > MAX_JSON:
                held.add(size - counted)
                counted = size
            if not event["more_body"]:
                break
        yield parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        held.bytes -= counted


@asynccontextmanager
async def _open_watch(
    services: Services, session_id: str, scope: HTTPScope
) -> AsyncIterator[Watch]:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    # First, as a ticket may be used only once.
    refuse_mistyped(query, ("after", "ticket"))
    tenant = _watching_tenant(services, session_id, scope, query.get("ticket"))
    identify(scope, tenant)
    if scope["method"] != "GET":
        text = f"{scope['method']} is not allowed on {scope['path']}"
        raise MethodNotAllowed(text, headers={"Allow": "GET"})
    async with services.sessions.watch(tenant, session_id, _cursor(scope, query)) as watch:
        yield watch


def _watching_tenant(
    services: Services, session_id: str, scope: HTTPScope, ticket: str | None
) -> str:
    """The tenant of the key, or of the ticket if no key was sent. Raises Unauthorized."""
    key = header(scope, b"authorization")
    if ticket is None or key is not None:
        return services.keys.tenant_of(key)
    again = header(scope, b"last-event-id") is not None
    return services.tickets.tenant_of(ticket, session_id, again=again)


def _cursor(scope: HTTPScope, query: dict[str, str]) -> int | None:
    """The id of the last frame that the client has received; None if it gives none.

    The header goes before `?after=`: an `EventSource` that reconnects asks for the URL that it
    began with, and only its header is up to date. Raises BadRequest.
    """
    last_id = (header(scope, b"last-event-id") or b"").decode("latin-1")
    name, text = ("Last-Event-ID", last_id) if last_id else ("after", query.get("after"))
    if text is None:
        return None
    if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_NUMBER:
        return int(text)
    raise BadRequest(f'{name}: expected a whole number from 0 to {MAX_NUMBER}, got "{text}"')


def _hello(watch: Watch) -> bytes:
    """Opens the stream. It gives a client that reconnects before any frame its cursor."""
    return f": stream\nretry: {RETRY_MS}\nid: {watch.cursor - 1}\n\n".encode()
