"""What the routes that stream have in common. They speak ASGI themselves, in front of Quart."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol
from urllib.parse import parse_qsl

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from ash.errors import AshError, BadRequest, MethodNotAllowed
from ash.http.responses import JSON, UNEXPECTED, Services, error_body
from ash.log import get_logger
from ash.sessions.frame_ring import Lagged
from ash.sessions.watch import Watch

log = get_logger()

# Well below the 30 to 60 seconds after which proxies drop a silent connection.
PING_SECONDS = 15
PING = b": ping\n\n"

EVENT_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class FrameReader(Protocol):
    async def read(self) -> bytes:
        """What is sent next; waits for it, and may be cancelled. Nothing at the end.

        Raises Cut when the client fell too far behind.
        """
        ...


async def send_frames(
    frames: FrameReader, receive: ASGIReceiveCallable, send: ASGISendCallable, first: bytes = b""
) -> None:
    """Sends `first` and the frames as they come, until they end or the client leaves.

    Raises Cut, in a group. Without the end of its body the client knows that it has to come back.
    """
    await _begin(send, 200, EVENT_STREAM)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_until_disconnect, receive, nursery.cancel_scope)
        if first:
            await _send_part(send, first)
        while chunk := await _next(frames):
            await _send_part(send, chunk)
        await _end(send)
        nursery.cancel_scope.cancel()


async def send_error(send: ASGISendCallable, error: AshError) -> None:
    body = error_body(error.status, error.text)
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await _begin(send, error.status, [JSON, length, *headers])
    await _end(send, body)


async def send_nothing(send: ASGISendCallable) -> None:
    """204, by which an `EventSource` knows that it need not come back."""
    await _begin(send, 204, [])
    await _end(send)


def refusal(error: Exception, scope: HTTPScope) -> AshError:
    """What a client is told; what it may not know goes to the log."""
    if isinstance(error, AshError):
        return error
    log.error("http.failed", method=scope["method"], path=scope["path"], exc_info=error)
    return AshError(UNEXPECTED)


def header(scope: HTTPScope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


async def _next(frames: FrameReader) -> bytes:
    with trio.move_on_after(PING_SECONDS):
        return await frames.read()
    return PING


async def _until_disconnect(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


async def _begin(send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
            "trailers": False,
        }
    )


async def _send_part(send: ASGISendCallable, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def _end(send: ASGISendCallable, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


# Soon, as a turn may be running, but not so soon that a crowd stands before a daemon that starts.
RETRY_MS = 1000

# What a number in JavaScript holds.
LAST_ID = 2**53 - 1


async def watch_session(
    services: Services,
    session_id: str,
    scope: HTTPScope,
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
) -> None:
    async with AsyncExitStack() as held:
        try:
            watch = await held.enter_async_context(_open(services, session_id, scope))
            hello = _hello(watch)
            # Known before the head: a stream that is over, with nothing left, is a 204.
            first = await watch.read() if watch.is_ending else b""
        except Exception as error:  # noqa: BLE001 - all of it is answered
            await send_error(send, refusal(error, scope))
            return
        if watch.is_ending and not first:
            await send_nothing(send)
            return
        try:
            await send_frames(watch, receive, send, hello + first)
        except* Lagged:
            log.info("http.reader_cut", session=session_id)
        except* AshError:
            # What comes next can't be read: without an end the client knows to come back.
            log.exception("http.stream_broken", session=session_id)


@asynccontextmanager
async def _open(services: Services, session_id: str, scope: HTTPScope) -> AsyncIterator[Watch]:
    query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
    tenant = _tenant(services, session_id, scope, query.get("ticket"))
    if scope["method"] != "GET":
        text = f"{scope['method']} is not allowed on {scope['path']}"
        raise MethodNotAllowed(text, headers={"Allow": "GET"})
    async with services.sessions.watch(tenant, session_id, _cursor(scope, query)) as watch:
        yield watch


def _tenant(services: Services, session_id: str, scope: HTTPScope, ticket: str | None) -> str:
    key = header(scope, b"authorization")
    if ticket is None or key is not None:
        return services.keys.tenant_of(key)
    again = header(scope, b"last-event-id") is not None
    return services.tickets.tenant_of(ticket, session_id, again=again)


def _cursor(scope: HTTPScope, query: dict[str, str]) -> int | None:
    """The last id that the client has had.

    The header knows better: an `EventSource` that comes back asks for the address it began with.
    """
    last_id = (header(scope, b"last-event-id") or b"").decode("latin-1")
    name, text = ("Last-Event-ID", last_id) if last_id else ("after", query.get("after"))
    if text is None:
        return None
    if text.isascii() and text.isdigit() and int(text[:17]) <= LAST_ID and len(text) <= 16:
        return int(text)
    raise BadRequest(f'{name}: expected a whole number from 0 to {LAST_ID}, got "{text}"')


def _hello(watch: Watch) -> bytes:
    """Opens the stream, and gives a client that comes back before any frame its cursor."""
    return f": stream\nretry: {RETRY_MS}\nid: {watch.cursor - 1}\n\n".encode()
