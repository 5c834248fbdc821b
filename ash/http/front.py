"""The hot route, `POST /api/sessions/:id/messages`, in front of Quart, which serves all else."""

import re
from typing import Literal
from urllib.parse import parse_qsl

import msgspec
import structlog
import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
)
from msgspec import Struct

from ash.errors import AshError, BadRequest, TooLarge
from ash.http.error_body import JSON, UNEXPECTED, error_body
from ash.http.requests import SendMessage, check_content, decode, explain
from ash.http.services import Services
from ash.protocol import Query
from ash.sessions.live import WhenBusy
from ash.sessions.stream import Cut, Stream
from ash.sessions.turn import Turn

log = structlog.stdlib.get_logger()

PATH = re.compile(r"/api/sessions/([^/]+)/messages")
MAX_BODY = 50 * 1024 * 1024

# Well below the 30 to 60 seconds after which proxies drop a silent connection.
PING_SECONDS = 15

EVENT_STREAM = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_decoder = msgspec.json.Decoder(SendMessage)


class Front:
    """An ASGI app: answers the hot route itself and hands everything else on."""

    def __init__(self, services: Services, rest: ASGIFramework) -> None:
        self._services = services
        self._rest = rest

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "http" and (session_id := _session_of(scope)):
            await self._post_message(session_id, scope, receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _post_message(
        self,
        session_id: str,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        try:
            tenant = self._services.keys.tenant_of(_authorization(scope))
            options = _options(scope["query_string"])
            query = _query(session_id, await read_body(receive))
            turn, stream = await self._services.sessions.send(
                tenant, session_id, query, options.when_busy
            )
        except AshError as error:
            await send_error(send, error)
            return
        except Exception:
            log.exception("http.failed", method="POST", path=scope["path"])
            await send_error(send, AshError(UNEXPECTED))
            return
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": EVENT_STREAM,
                "trailers": False,
            }
        )
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_disconnect, receive, nursery.cancel_scope)
                await _follow(turn, stream, send)
                nursery.cancel_scope.cancel()
            if options.on_disconnect == "interrupt" and not turn.finished.is_set():
                await turn.stop("interrupted")
        except* Cut:
            # Without the end of its body the client knows that it has to come back.
            log.info("http.reader_cut", session=session_id)


class _Options(Struct, rename="camel"):
    when_busy: WhenBusy = "refuse"
    on_disconnect: Literal["continue", "interrupt"] = "continue"


def _options(query: bytes) -> _Options:
    """Raises BadRequest for a word that is none of an option's."""
    if not query:
        return _Options()
    try:
        return msgspec.convert(dict(parse_qsl(query.decode("latin-1"))), _Options)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None


def _session_of(scope: HTTPScope) -> str | None:
    """The session that a message is posted to; None on every other route."""
    match = PATH.fullmatch(scope["path"]) if scope["method"] == "POST" else None
    return match[1] if match else None


async def _follow(turn: Turn, stream: Stream, send: ASGISendCallable) -> None:
    """Sends the turn's frames as they come. Raises Cut if the client fell too far behind."""
    cursor = turn.first_frame
    while turn.last_frame is None or cursor <= turn.last_frame:
        chunk = b": ping\n\n"
        with trio.move_on_after(PING_SECONDS):
            end = None if turn.last_frame is None else turn.last_frame + 1
            chunk, cursor = await stream.read(cursor, end)
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_disconnect(receive: ASGIReceiveCallable, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _query(session_id: str, body: bytes) -> Query:
    wanted = decode(body, _decoder)
    return Query(
        prompt=check_content(wanted.content),
        session_id=session_id,
        include_partial_messages=wanted.include_partial_messages,
        model=wanted.model,
        max_turns=wanted.max_turns,
        max_budget_usd=wanted.max_budget_usd,
        effort=wanted.effort,
        thinking=msgspec.to_builtins(wanted.thinking),
        output_format=msgspec.to_builtins(wanted.output_format),
    )


async def read_body(receive: ASGIReceiveCallable) -> bytes:
    """The whole body. Raises TooLarge over 50 MB."""
    parts: list[bytes] = []
    size = 0
    while (event := await receive())["type"] == "http.request":
        parts.append(event["body"])
        size += len(event["body"])
        if size > MAX_BODY:
            raise TooLarge("The body is larger than 50 MB")
        if not event["more_body"]:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def send_error(send: ASGISendCallable, error: AshError) -> None:
    body = error_body(error.status, error.text)
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await send(
        {
            "type": "http.response.start",
            "status": error.status,
            "headers": [JSON, length, *headers],
            "trailers": False,
        }
    )
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _authorization(scope: HTTPScope) -> bytes | None:
    return next((value for name, value in scope["headers"] if name == b"authorization"), None)
