from dataclasses import dataclass

import trio
from hypercorn.protocol.events import Body, EndBody, Event, Response
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.http_stream import HTTPStream as HypercornHTTPStream
from hypercorn.typing import ASGISendEvent
from hypercorn.utils import suppress_body

from ash.http.responses import JSON, error_body


class ClientGone(OSError):
    """Raised by an app's `send` when nobody is there to read, as ASGI 2.4 asks for.

    An app need not catch it: the server takes it as the quiet end of the request.
    """


@dataclass(frozen=True)
class Flush(Event):
    """What was collected up to here is to be written, in one go."""


class HTTPStream(HypercornHTTPStream):
    """One request and its answer: Hypercorn's ASGI state machine with three changes.

    Each `http.response.body` is one write, and the first takes the head along; what ends
    without an answer is answered with the house's error body; who sends to a client that has
    gone is told so.
    """

    begun = False

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            await self._finish()
        elif self.closed and self.state is not ASGIHTTPState.CLOSED:
            raise ClientGone("The client has closed the connection.")
        else:
            await self._pass_on(message)

    async def _pass_on(self, message: ASGISendEvent) -> None:
        is_body = message["type"] == "http.response.body"
        self.begun = self.begun or is_body
        await super().app_send(message)
        if is_body and self.state is ASGIHTTPState.RESPONSE:
            await self.send(Flush(stream_id=self.stream_id))
            # The write yields only when it has to wait; an app that writes on and on must.
            await trio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        if not self.begun:
            # A head that waits for its body has not been sent: the 500 can still replace it.
            self.state = ASGIHTTPState.REQUEST
        await super().app_send(None)

    async def _send_error_response(self, status_code: int) -> None:
        body = error_body(status_code, "Unexpected failure: the server's log says more")
        length = str(len(body)).encode()
        headers = [JSON, (b"content-length", length)]
        await self.send(
            Response(stream_id=self.stream_id, headers=headers, status_code=status_code)
        )
        if not suppress_body(self.scope["method"], status_code):
            await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED
