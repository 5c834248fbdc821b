"""One HTTP/1.1 connection to the stub model, with h11 over a trio stream."""

from collections.abc import Iterable
from math import inf

import h11
import trio

_RECEIVE_SIZE = 256 * 1024
_JSON = [("content-type", "application/json")]
_EVENTS = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]


class StubConnection:
    """Reads requests and sends responses; raises BrokenResourceError if the client has gone."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER)
        self._asked_for_body = True

    async def request(self) -> tuple[h11.Request, bytes] | None:
        """The next request with its body, or None if no further one will come."""
        if self._http.our_state is h11.MUST_CLOSE:
            return None
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        self._asked_for_body = head.method != b"HEAD"
        body = bytearray()
        while isinstance(part := await self._event(), h11.Data):
            body += part.data
        return head, bytes(body)

    async def send(
        self, status: int, body: bytes, *, again: bool = False, retry_after: int | None = None
    ) -> None:
        """Sends a complete response, and tells the client whether to try again after an error."""
        headers = [*_JSON, ("content-length", str(len(body)))]
        if not again:
            headers.append(("x-should-retry", "false"))
        if retry_after is not None:
            headers.append(("retry-after", str(retry_after)))
        head = self._http.send(h11.Response(status_code=status, headers=headers))
        data = self._http.send(h11.Data(body)) if self._asked_for_body else b""
        await self._flush(head, data, self._http.send(h11.EndOfMessage()))

    async def stream(self, parts: Iterable[tuple[bytes, float]], *, cut: bool = False) -> None:
        """Sends an event stream; each part is sent at once, and has a pause to wait after it.

        With `cut` the stream has no end, and BrokenResourceError is raised.
        """
        head = self._http.send(h11.Response(status_code=200, headers=_EVENTS))
        for part, pause in parts:
            await self._flush(head, self._http.send(h11.Data(part)))
            head = b""
            await self._pause(pause)
        if cut:
            raise trio.BrokenResourceError("the rule asked for it")
        await self._flush(head, self._http.send(h11.EndOfMessage()))

    async def hang(self) -> None:
        """Answers nothing; raises BrokenResourceError when the client leaves."""
        await self._pause(inf)

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._flush(self._http.send(go_on))
            self._http.receive_data(await self._stream.receive_some(_RECEIVE_SIZE))
        return event

    async def _pause(self, seconds: float) -> None:
        """Waits while reading, so that the response ends at once if the client leaves."""
        with trio.move_on_after(seconds):
            while seconds:
                received = await self._stream.receive_some(_RECEIVE_SIZE)
                if not received:
                    raise trio.BrokenResourceError("the client has gone")
                self._http.receive_data(received)

    async def _flush(self, *parts: bytes | None) -> None:
        await self._stream.send_all(b"".join(part for part in parts if part))
