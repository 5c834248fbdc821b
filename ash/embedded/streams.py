"""The events of a turn or of a session, for a reader in the same process."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Self

import trio

from ash import events
from ash.client.reconnecting import StreamRequest
from ash.client.request import Request
from ash.client.sse import Event
from ash.core import Core
from ash.embedded.opening import OpenCore
from ash.embedded.transport import TENANT
from ash.errors import AshError, TooLarge, Unavailable
from ash.requests.messages import MAX_BODY, message_query, options
from ash.requests.parsing import encode, whole_number
from ash.sessions.frame_ring import RingBroken
from ash.sessions.turn import Turn
from ash.sessions.watch import TurnFrames, Watch


class EmbeddedEventStream:
    """The events of a stream, as they come. Leave it by `async with` or `aclose`.

    The request is made when the stream is entered or first iterated.
    """

    def __init__(self, opened: OpenCore, request: StreamRequest) -> None:
        self._opened = opened
        self._request = request
        self._held = AsyncExitStack()
        self._feed: FrameFeed | None = None
        self._ready: deque[Event] = deque()
        self._over = False

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._ready and not self._over:
            await self._advance()
        if self._ready:
            return self._ready.popleft()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the stream here."""
        self._over = True
        self._ready.clear()
        await self._held.aclose()

    async def _open(self) -> "FrameFeed":
        if self._feed is None:
            with self._opened.call():
                feed = open_feed(self._opened.core, self._request)
                self._feed = await self._held.enter_async_context(feed)
        return self._feed

    async def _advance(self) -> None:
        try:
            self._take(await self._read())
        except BaseException:
            await self.aclose()
            raise
        if self._over:
            await self._held.aclose()

    async def _read(self) -> list[bytes]:
        feed = await self._open()
        with self._opened.call():
            frames = await feed.read()
        # Frames that are there already are read without waiting, however many they are.
        await trio.lowlevel.checkpoint()
        if not frames and self._request.message:
            raise AshError("The session's stream ended before the turn did")
        return frames

    def _take(self, frames: list[bytes]) -> None:
        self._over = not frames
        for data in frames:
            frame_id, frame = events.unwrap(data)
            self._ready.append(Event(frame.event, bytes(frame.data), frame_id))
            if self._request.message and frame.event == "done":
                self._over = True
                return


class FrameFeed:
    """A session's frames, also over a ring that broke off.

    With a `turn` it begins with the frames of that turn; those of later turns may follow.
    """

    def __init__(
        self, core: Core, session_id: str, held: AsyncExitStack, turn: Turn | None = None
    ) -> None:
        self._core = core
        self._session_id = session_id
        self._held = held
        self._turn = turn
        self._frames: TurnFrames | Watch

    async def begin(self, frames: TurnFrames | int | None) -> None:
        """Reads those frames from now on, or all after an id."""
        await self._held.aclose()
        if isinstance(frames, TurnFrames):
            self._frames = frames
        else:
            watch = self._core.sessions.watch(TENANT, self._session_id, frames)
            self._frames = await self._held.enter_async_context(watch)

    async def read(self) -> list[bytes]:
        """The next frames; none at the end. Raises Unavailable if they could not be stored."""
        while True:
            try:
                frames = await self._frames.read_frames()
                self._frames.close()
            except RingBroken:
                if self._turn is not None and self._turn.broken:
                    text = "What the agent did could not be stored: the session's events say more"
                    raise Unavailable(text) from None
                await self.begin(self._frames.cursor - 1)
            else:
                return frames


@asynccontextmanager
async def open_feed(core: Core, request: StreamRequest) -> AsyncIterator[FrameFeed]:
    """Sends the message, if there is one. Raises AshError."""
    session_id = request.session_id
    if request.message is None:
        after = whole_number({"after": request.after}.get, "after", None)
        async with _feed(core, session_id, after) as feed:
            yield feed
    else:
        async with (
            _send(core, session_id, request.message) as (turn, frames),
            _feed(core, session_id, frames, turn) as feed,
        ):
            yield feed


@asynccontextmanager
async def _feed(
    core: Core, session_id: str, start: TurnFrames | int | None, turn: Turn | None = None
) -> AsyncIterator[FrameFeed]:
    async with AsyncExitStack() as held:
        feed = FrameFeed(core, session_id, held, turn)
        await feed.begin(start)
        yield feed


@asynccontextmanager
async def _send(
    core: Core, session_id: str, message: Request[Any]
) -> AsyncIterator[tuple[Turn, TurnFrames]]:
    """The turn that the message starts. Leaving it early interrupts it, if that was asked for."""
    query = message_query(session_id, _bounded(encode(message.body or {})))
    asked = options(message.params)
    turn, ring = await core.sessions.send(
        TENANT, session_id, query, asked.when_busy, resume=asked.resume
    )
    try:
        yield turn, TurnFrames(turn, ring)
    finally:
        if asked.on_disconnect == "interrupt" and not turn.finished.is_set():
            core.nursery.start_soon(turn.stop, "interrupted")


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise TooLarge(f"The message is larger than {MAX_BODY // 1024**2} MB")
    return body
