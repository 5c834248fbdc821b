"""The routes that stream, in front of Quart, which serves all else.

Here is the hot one, `POST /api/sessions/:id/messages`.
"""

import re
from typing import Literal
from urllib.parse import parse_qsl

import msgspec
import structlog
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
)
from msgspec import Struct

from ash.errors import BadRequest, TooLarge
from ash.http.event_stream import header, refusal, send_error, send_frames
from ash.http.requests import SendMessage, check_content, decode, explain
from ash.http.services import Services
from ash.http.watch import watch_session
from ash.protocol import Query
from ash.sessions.live import WhenBusy
from ash.sessions.stream import Cut, Stream
from ash.sessions.turn import Turn

log = structlog.stdlib.get_logger()

PATH = re.compile(r"/api/sessions/([^/]+)/(messages|stream)")
MAX_BODY = 50 * 1024 * 1024

_decoder = msgspec.json.Decoder(SendMessage)


class Front:
    """An ASGI app: answers what streams itself and hands everything else on."""

    def __init__(self, services: Services, rest: ASGIFramework) -> None:
        self._services = services
        self._rest = rest

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        match = PATH.fullmatch(scope["path"]) if scope["type"] == "http" else None
        if match and scope["type"] == "http" and match[2] == "stream":
            await watch_session(self._services, match[1], scope, receive, send)
        elif match and scope["type"] == "http" and scope["method"] == "POST":
            await self._post_message(match[1], scope, receive, send)
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
            tenant = self._services.keys.tenant_of(header(scope, b"authorization"))
            options = _options(scope["query_string"])
            query = _query(session_id, await read_body(receive))
            turn, stream = await self._services.sessions.send(
                tenant, session_id, query, options.when_busy, resume=options.resume == "auto"
            )
        except Exception as error:  # noqa: BLE001 - all of it is answered
            await send_error(send, refusal(error, scope))
            return
        try:
            await send_frames(_TurnFrames(turn, stream), receive, send)
        except* Cut:
            log.info("http.reader_cut", session=session_id)
        finally:
            if options.on_disconnect == "interrupt" and turn.last_frame is None:
                await turn.stop("interrupted")


class _TurnFrames:
    """The frames of one turn, none of the next."""

    def __init__(self, turn: Turn, stream: Stream) -> None:
        self._turn = turn
        self._stream = stream
        self._cursor = turn.first_frame

    async def read(self) -> bytes:
        last = self._turn.last_frame
        if last is not None and self._cursor > last:
            return b""
        end = None if last is None else last + 1
        frames, self._cursor = await self._stream.read(self._cursor, end)
        return frames


class _Options(Struct, rename="camel"):
    when_busy: WhenBusy = "refuse"
    on_disconnect: Literal["continue", "interrupt"] = "continue"
    resume: Literal["no", "auto"] = "no"


def _options(query: bytes) -> _Options:
    """Raises BadRequest for a word that is none of an option's."""
    if not query:
        return _Options()
    try:
        return msgspec.convert(dict(parse_qsl(query.decode("latin-1"))), _Options)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from None


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
