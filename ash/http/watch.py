"""`GET /api/sessions/:id/stream`: a session's frames, for whoever joins or comes back."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qsl

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from ash.errors import AshError, BadRequest, MethodNotAllowed
from ash.http.event_stream import header, refusal, send_error, send_frames, send_nothing
from ash.http.services import Services
from ash.log import get_logger
from ash.sessions.frame_ring import Lagged
from ash.sessions.watch import Watch

log = get_logger()

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
