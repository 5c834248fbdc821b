"""Responses in plain ASGI: errors, and streams of events. Nothing in here knows Quart."""

import math
from collections.abc import Iterable
from typing import Protocol, cast

import msgspec
import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, HTTPScope

from ash.errors import AshError, TooLarge, Unauthorized, UnsupportedMedia
from ash.log import get_logger

log = get_logger()

# Without no-store some caches keep an answer by default, /health and a 404 among them.
NO_STORE = (b"cache-control", b"no-store")
JSON_HEADERS = [(b"content-type", b"application/json"), NO_STORE]

# The text of every 500. It names no path and shows no stack: those are in the log.
UNEXPECTED = "Unexpected failure: the server's log says more"

# A proxy that compresses an event stream holds frames back; no-transform forbids it.
EVENT_STREAM = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]

# Well below the 30 to 60 seconds after which proxies drop a silent connection.
PING_SECONDS = 15
PING = b": ping\n\n"

# What an app receives when its client sends no more, but may still be reading. ASGI has no such
# event, and an app that doesn't know it passes over it.
HALF_CLOSED = "http.half_closed"

# A frame may be megabytes. In parts of this size, a reader that is slow to take it makes the server
# copy no more of it, and the copying holds up no other session.
PART_BYTES = 64 * 1024


# How long a client may take for frames of more than LARGE bytes. Others wait for it meanwhile.
LARGE, LARGE_SECONDS = 1024 * 1024, 60.0

# Where the server puts, for the app, the function to say whose connection it is.
IDENTIFY = "identify"


def identify(scope: HTTPScope, tenant: str) -> None:
    """Tells the server whose request this is. Raises Unavailable if he has too many connections."""
    if (known := scope.get("state", {}).get(IDENTIFY)) is not None:
        known(tenant)


def header(scope: HTTPScope, name: bytes) -> bytes | None:
    """The first header of that name, which is in lower case."""
    return next((value for key, value in scope["headers"] if key == name), None)


def error_body(status: int, text: str) -> bytes:
    """The body of every error: `{"error": <text a caller can act on>, "statusCode": <int>}`."""
    return msgspec.json.encode({"error": text, "statusCode": status})


def too_large(limit: int) -> TooLarge:
    """The error for a body of more than `limit` bytes."""
    return TooLarge(f"The body is larger than {limit // 1024**2} MB")


def check_encoding(encodings: Iterable[str]) -> None:
    """Raises UnsupportedMedia for a body that is compressed. Takes the Content-Encoding headers."""
    for encoding in ",".join(encodings).split(","):
        if encoding.strip().lower() not in {"", "identity"}:
            text = f"Content-Encoding: {encoding.strip()} is not supported; send the body as it is"
            raise UnsupportedMedia(text, headers={"Accept-Encoding": "identity"})


def public_error(error: Exception, scope: HTTPScope) -> AshError:
    """What the client is told. An error that is not meant for it is logged instead."""
    if isinstance(error, AshError):
        if isinstance(error, Unauthorized):
            note_refused_key(scope["method"], scope["path"], (scope["client"] or [None])[0])
        return error
    log.error("http.failed", method=scope["method"], path=scope["path"], exc_info=error)
    return AshError(UNEXPECTED)


def note_refused_key(method: str, path: str, client: str | None) -> None:
    """`client` is an address. The key is not logged: it may be one with a typing error."""
    log.warning("http.key_refused", method=method, path=path, client=client)


async def send_error(send: ASGISendCallable, error: AshError) -> None:
    body = error_body(error.status, error.text)
    headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
    length = (b"content-length", str(len(body)).encode())
    await start_response(send, error.status, [*JSON_HEADERS, length, *headers])
    await end_response(send, body)


async def send_empty(
    send: ASGISendCallable, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Sends a 204, which has no body."""
    await start_response(send, 204, headers or [])
    await end_response(send)


async def start_response(
    send: ASGISendCallable, status: int, headers: list[tuple[bytes, bytes]]
) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
            "trailers": False,
        }
    )


async def send_part(send: ASGISendCallable, part: bytes) -> None:
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def end_response(send: ASGISendCallable, body: bytes = b"") -> None:
    await send({"type": "http.response.body", "body": body, "more_body": False})


class FrameReader(Protocol):
    async def read(self) -> bytes:
        """Waits for the next frames and returns their bytes; no bytes at the end.

        It may be cancelled. Raises an error when no more can be read.
        """
        ...


async def send_frames(
    frames: FrameReader, receive: ASGIReceiveCallable, send: ASGISendCallable, first: bytes = b""
) -> None:
    """Sends `first` and the frames as they come, until they end or the client leaves.

    Raises in a group what the reader raises. The body then has no end, by which the client knows
    that it has to come back; so it is if the client takes too long for a large frame.
    """
    await start_response(send, 200, EVENT_STREAM)
    async with trio.open_nursery() as nursery:
        silence = _Silence()
        nursery.start_soon(_heed_client, receive, nursery.cancel_scope, silence)
        chunk = first or await _next_or_ping(frames, silence)
        while chunk:
            with trio.move_on_after(LARGE_SECONDS if len(chunk) > LARGE else math.inf) as patience:
                for start in range(0, len(chunk), PART_BYTES):
                    await send_part(send, chunk[start : start + PART_BYTES])
            if patience.cancelled_caught:
                nursery.cancel_scope.cancel()
                return
            chunk = await _next_or_ping(frames, silence)
        await end_response(send)
        nursery.cancel_scope.cancel()


class _Silence:
    """The time in which no frame comes. A ping ends it, and `end` brings one at once."""

    def __init__(self) -> None:
        self._scope = trio.CancelScope()
        self._is_over = False

    def begin(self) -> trio.CancelScope:
        self._scope = trio.CancelScope(deadline=trio.current_time() + PING_SECONDS)
        if self._is_over:
            self._scope.cancel()
        return self._scope

    def broken(self) -> None:
        self._is_over = False

    def end(self) -> None:
        self._is_over = True
        self._scope.cancel()


async def _next_or_ping(frames: FrameReader, silence: _Silence) -> bytes:
    with silence.begin():
        return await frames.read()
    silence.broken()
    return PING


async def _heed_client(
    receive: ASGIReceiveCallable, scope: trio.CancelScope, silence: _Silence
) -> None:
    """Cancels `scope` when the client leaves. If it may have left, a ping finds out."""
    while (event := cast("str", (await receive())["type"])) != "http.disconnect":
        if event == HALF_CLOSED:
            silence.end()
    scope.cancel()
