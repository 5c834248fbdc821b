"""The two calls that stream."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Literal, Self

import trio

from ash.client.calls.fields import given
from ash.client.calls.streams import Content
from ash.client.sse import Event, Reader
from ash.embedded.following import Following, open_turn, open_watch
from ash.embedded.root import Calls, Root
from ash.errors import AshError, TooLarge
from ash.requests.messages import MAX_BODY, message_query, options
from ash.requests.parsing import encode, whole_number

Opening = Callable[[], AbstractAsyncContextManager[Following]]


class EventStream:
    """The events of a stream, as they come. Leave it by `async with` or `aclose`.

    What it shows begins when it is entered or first iterated.
    """

    def __init__(self, root: Root, opening: Opening, *, is_turn: bool = False) -> None:
        """That of a turn is over with the turn's `done`."""
        self._root = root
        self._opening = opening
        self._is_turn = is_turn
        self._held = AsyncExitStack()
        self._frames: Following | None = None
        self._reader = Reader()
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

    async def _open(self) -> Following:
        if self._frames is None:
            with self._root.under_way():
                self._frames = await self._held.enter_async_context(self._opening())
        return self._frames

    async def _advance(self) -> None:
        try:
            self._take(await self._read())
        except BaseException:
            await self.aclose()
            raise
        if self._over:
            await self._held.aclose()

    async def _read(self) -> bytes:
        frames = await self._open()
        with self._root.under_way():
            data = await frames.read()
        # What is there already is read without one, be it megabytes.
        await trio.lowlevel.checkpoint()
        if not data and self._is_turn:
            raise AshError("The session's stream ended before the turn did")
        return data

    def _take(self, data: bytes) -> None:
        self._over = not data
        for event in self._reader.feed(data):
            self._ready.append(event)
            if self._is_turn and event.event == "done":
                self._over = True
                return


class StreamCalls(Calls):
    def send_message(
        self,
        session_id: str,
        content: Content,
        *,
        when_busy: Literal["refuse", "queue", "interrupt"] | None = None,
        resume: Literal["no", "auto"] | None = None,
        on_disconnect: Literal["continue", "interrupt"] | None = None,
        include_partial_messages: bool | None = None,
        model: str | None = None,
        max_turns: int | None = None,
        max_budget_usd: float | None = None,
        effort: Literal["low", "medium", "high", "max"] | None = None,
        thinking: Mapping[str, Any] | None = None,
        output_format: Mapping[str, Any] | None = None,
    ) -> EventStream:
        """The turn that the message starts, up to its `done`.

        The message is sent when the stream is entered or first iterated, once. Leaving the
        stream early leaves the turn running, unless `on_disconnect` is `interrupt`. Raises
        AshError if it is refused.
        """
        body = given(
            content=content,
            includePartialMessages=include_partial_messages,
            model=model,
            maxTurns=max_turns,
            maxBudgetUsd=max_budget_usd,
            effort=effort,
            thinking=thinking,
            outputFormat=output_format,
        )
        asked = given(whenBusy=when_busy, resume=resume, onDisconnect=on_disconnect)

        @asynccontextmanager
        async def opening() -> AsyncIterator[Following]:
            query = message_query(session_id, _bounded(encode(body)))
            async with open_turn(self._core, session_id, query, options(asked)) as turn:
                yield turn

        return EventStream(self._root, opening, is_turn=True)

    def stream_session(self, session_id: str, *, after: int | None = None) -> EventStream:
        """The frames of all turns behind the id `after`, else from the running turn's start.

        Goes on, turn after turn, until the session has ended. Sends nothing to the agent.
        """

        @asynccontextmanager
        async def opening() -> AsyncIterator[Following]:
            start = whole_number(given(after=after).get, "after", None)
            async with open_watch(self._core, session_id, start) as frames:
                yield frames

        return EventStream(self._root, opening)


def _bounded(body: bytes) -> bytes:
    if len(body) > MAX_BODY:
        raise TooLarge(f"The message is larger than {MAX_BODY // 1024**2} MB")
    return body
