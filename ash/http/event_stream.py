"""What the routes that stream have in common. They speak ASGI themselves, in front of Quart."""

from typing import Protocol

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from ash.errors import AshError
from ash.http.error_body import JSON, UNEXPECTED, error_body
from ash.log import get_logger

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
