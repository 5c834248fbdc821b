"""The client for scripts without an event loop."""

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Self, TypeVar

import httpx

from ash.client.api import Api, Blocking
from ash.client.connection import HttpClient
from ash.client.errors import explained
from ash.client.reconnecting import ReconnectingStream, StreamRequest, expect_pings, is_stream
from ash.client.request import Request, answer, as_json
from ash.client.sse import Event

T = TypeVar("T")


class EventStream:
    """The events of a stream, as they come. It reconnects by itself when its connection breaks.

    The request is made when the stream is entered or first iterated. Closing it leaves the turn
    running.
    """

    def __init__(self, http: httpx.Client, stream: ReconnectingStream) -> None:
        self._http = http
        self._stream = stream
        self._response: httpx.Response | None = None
        self._chunks: Iterator[bytes] = iter(())

    def __enter__(self) -> Self:
        if self._response is None:
            self._advance()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        while not self._stream.ready and not self._stream.over:
            self._advance()
        if self._stream.ready:
            return self._stream.ready.popleft()
        self._finish()
        raise StopIteration

    def close(self) -> None:
        """Ends the stream here."""
        self._stream.stop()
        self._drop()

    def _advance(self) -> None:
        try:
            if self._response is None:
                self._open()
            else:
                self._stream.feed(next(self._chunks, b""))
        except httpx.RequestError as error:
            self._drop()
            time.sleep(self._stream.lost(error))
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        request = self._http.build_request(**self._stream.request.options)
        self._response = response = self._http.send(request, stream=True)
        expect_pings(response)
        self._chunks = response.iter_bytes()
        if not is_stream(response):
            response.read()
        self._stream.opened(response)

    def _finish(self) -> None:
        """Reads to the end of the response, so that its connection can be reused."""
        if self._stream.ends_by_itself:
            with suppress(httpx.TransportError):
                for _ in self._chunks:
                    pass
        self._drop()

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None


class AshClient(Api, HttpClient[httpx.Client], Blocking):
    __doc__ = HttpClient.__doc__
    _kind = httpx.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ask(self, request: Request[T]) -> T:
        """Sends the request and returns its answer."""
        with explained(self.target):
            response = self._http.request(**request.options)
        return answer(request, response, self.target)

    def ask_json(self, request: Request[Any]) -> dict[str, Any]:
        """The whole answer, as the server wrote it."""
        return self.ask(as_json(request))

    def follow(self, request: StreamRequest) -> EventStream:
        """The stream for that request; nothing is sent yet."""
        return EventStream(self._http, self._reconnecting(request))
