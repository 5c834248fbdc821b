"""Answers `GET …/messages` in plain ASGI: all of them may be more than fits into memory."""

from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl

import msgspec
import trio
from hypercorn.typing import ASGISendCallable, HTTPScope

from ash.errors import Unavailable
from ash.http.app import Services
from ash.http.asgi import (
    JSON_HEADERS,
    end_response,
    header,
    identify,
    public_error,
    send_error,
    send_part,
    start_response,
)
from ash.log import get_logger
from ash.model import Message
from ash.requests.parsing import message_page
from ash.requests.unknown_fields import refuse_mistyped
from ash.store.history import is_cut

log = get_logger()

# A text of that many characters is written in pieces, each in one step of the event loop.
PIECE = 64 * 1024

# So many lists of more than a page are sent at a time. Each holds a page, or one large message.
LISTS_AT_ONCE = 4

# How long a client may take for such a list: longer, and it would keep others waiting.
LIST_SECONDS = 120.0

# How long a list waits for others.
WAIT_SECONDS = 30.0

_PARAMETERS = ("after", "limit")
_encode = msgspec.json.encode


class MessageLists:
    """Sends the lists of one server."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._large = trio.CapacityLimiter(LISTS_AT_ONCE)

    async def send(self, session_id: str, scope: HTTPScope, send: ASGISendCallable) -> None:
        """Answers the request. A list that can't be sent to its end breaks off."""
        waits = False
        try:
            tenant = self._services.keys.tenant_of(header(scope, b"authorization"))
            identify(scope, tenant)
            query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
            asked = message_page(query.get)
            refuse_mistyped(query, _PARAMETERS)
            first = await self._services.sessions.message_page(tenant, session_id, **asked)
            if waits := is_cut(first):
                # What was read is dropped: many that wait must not hold a large message each.
                del first
                await self._wait()
        except Exception as error:  # noqa: BLE001 - every failure becomes a response
            await send_error(send, public_error(error, scope))
            return
        if not waits:
            await _send_page(send, scope, first)
            return
        try:
            with trio.move_on_after(LIST_SECONDS):
                await self._send_all(send, scope, tenant, session_id, **asked)
        except Exception:
            log.exception("http.stream_failed", session=session_id)
        finally:
            self._large.release()

    async def _send_all(
        self,
        send: ASGISendCallable,
        scope: HTTPScope,
        tenant: str,
        session_id: str,
        *,
        after: int,
        limit: int,
    ) -> None:
        await start_response(send, 200, JSON_HEADERS)
        if scope["method"] == "HEAD":
            await end_response(send)
            return
        separator, page = b"", list[Message]()
        await send_part(send, b'{"messages":[')
        while limit > 0 and (not page or is_cut(page)):
            page = await self._services.sessions.message_page(
                tenant, session_id, after=after, limit=limit
            )
            if not page:
                break
            for message in page:
                for piece in message_pieces(message):
                    await send_part(send, separator + piece)
                    separator = b""
                separator = b","
            after, limit = page[-1].sequence, limit - len(page)
        await end_response(send, b"]}")

    async def _wait(self) -> None:
        """Raises Unavailable if others take too long."""
        with trio.move_on_after(WAIT_SECONDS) as waited:
            await self._large.acquire()
        if waited.cancelled_caught:
            raise Unavailable("The server is sending too many large lists: ask again later")


async def _send_page(send: ASGISendCallable, scope: HTTPScope, messages: Sequence[Message]) -> None:
    body = _encode({"messages": messages})
    length = (b"content-length", str(len(body)).encode())
    await start_response(send, 200, [*JSON_HEADERS, length])
    await end_response(send, b"" if scope["method"] == "HEAD" else body)


def message_pieces(message: Message) -> Iterator[bytes]:
    """The message as JSON, in pieces."""
    if len(message.content) <= PIECE:
        yield _encode(message)
        return
    empty = _encode(msgspec.structs.replace(message, content=""))
    head, mark, tail = empty.partition(b'"content":"')
    yield head + mark
    for start in range(0, len(message.content), PIECE):
        yield _encode(message.content[start : start + PIECE])[1:-1]
    yield tail
