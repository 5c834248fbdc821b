"""The client for trio and asyncio."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self, TypeVar

import anyio
import httpx

from ash.client.api import Api, Awaiting
from ash.client.connection import HttpClient
from ash.client.errors import explained
from ash.client.reconnecting import ReconnectingStream, StreamRequest, expect_pings, is_stream
from ash.client.request import Request, answer
from ash.client.sse import Event

T = TypeVar("T")


class AsyncEventStream:
    """The same as `EventStream`, awaited. Leave it by `async with` or `aclose`."""

    def __init__(self, http: httpx.AsyncClient, stream: ReconnectingStream) -> None:
        self._http = http
        self._stream = stream
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]

    async def __aenter__(self) -> Self:
        if self._response is None:
            await self._advance()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._stream.ready and not self._stream.over:
            await self._advance()
        if self._stream.ready:
            return self._stream.ready.popleft()
        if self._stream.ends_by_itself:
            await self._read_out()
        await self._drop()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends the stream here."""
        self._stream.stop()
        await self._drop()

    async def _advance(self) -> None:
        try:
            if self._response is None:
                await self._open()
            else:
                self._stream.feed(await anext(self._chunks, b""))
        except httpx.RequestError as error:
            await self._drop()
            await anyio.sleep(self._stream.lost(error))
        except BaseException:
            await self.aclose()
            raise

    async def _open(self) -> None:
        request = self._http.build_request(**self._stream.request.options)
        self._response = response = await self._http.send(request, stream=True)
        expect_pings(response)
        self._chunks = response.aiter_bytes()
        if not is_stream(response):
            await response.aread()
        self._stream.opened(response)

    async def _read_out(self) -> None:
        with suppress(httpx.TransportError):
            async for _ in self._chunks:
                pass

    async def _drop(self) -> None:
        """Closes the response at once, also when this task is cancelled."""
        response, self._response = self._response, None
        if response is None or response.is_closed:
            return
        with anyio.CancelScope(shield=True):
            # trio warns of generators that are left to the garbage collector, so the response's
            # must run to their end. Once the network stream is closed they do so at once.
            await response.extensions["network_stream"].aclose()
            await self._read_out()
            await response.aclose()


class AsyncAshClient(Api, HttpClient[httpx.AsyncClient], Awaiting):
    __doc__ = HttpClient.__doc__
    _kind = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ask(self, request: Request[T]) -> T:
        """Sends the request and returns its answer."""
        with explained(self.target):
            response = await self._http.request(**request.options)
        return answer(request, response, self.target)

    def follow(self, request: StreamRequest) -> AsyncEventStream:
        """The stream for that request; nothing is sent yet."""
        return AsyncEventStream(self._http, self._reconnecting(request))
