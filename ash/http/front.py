"""The routes that stream, in front of Quart, which serves all else.

Here is the hot one, `POST /api/sessions/:id/messages`.
"""

import re
from urllib.parse import parse_qsl

from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGISendCallable,
    HTTPScope,
    Scope,
)

from ash.errors import TooLarge
from ash.http.event_stream import header, refusal, send_error, send_frames, watch_session
from ash.http.responses import Services
from ash.log import get_logger
from ash.requests.messages import MAX_BODY, Options, message_query, options
from ash.sessions.frame_ring import Lagged
from ash.sessions.watch import TurnFrames

log = get_logger()

PATH = re.compile(r"/api/sessions/([^/]+)/(messages|stream)")


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
            asked = _options(scope["query_string"])
            query = message_query(session_id, await read_body(receive))
            turn, stream = await self._services.sessions.send(
                tenant, session_id, query, asked.when_busy, resume=asked.resume
            )
        except Exception as error:  # noqa: BLE001 - all of it is answered
            await send_error(send, refusal(error, scope))
            return
        try:
            await send_frames(TurnFrames(turn, stream), receive, send)
        except* Lagged:
            log.info("http.reader_cut", session=session_id)
        finally:
            if asked.on_disconnect == "interrupt" and turn.last_frame is None:
                await turn.stop("interrupted")


def _options(query: bytes) -> Options:
    return options(dict(parse_qsl(query.decode("latin-1")))) if query else Options()


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
