"""One request and its response."""

from dataclasses import dataclass

import trio
from hypercorn.protocol.events import Body, EndBody, Event, Response
from hypercorn.protocol.http_stream import ASGIHTTPState
from hypercorn.protocol.http_stream import HTTPStream as HypercornHTTPStream
from hypercorn.typing import ASGISendEvent
from hypercorn.utils import suppress_body

from ash.http.asgi import JSON, UNEXPECTED, error_body
from ash.http.server.sender import ClientGone


@dataclass(frozen=True)
class Flush(Event):
    """Asks the protocol to write what it has collected, in one piece."""


class HTTPStream(HypercornHTTPStream):
    """Hypercorn's ASGI state machine with three changes.

    Each `http.response.body` is one write, and the first includes the head. An app that ends
    without a response gets a 500 with the body of all errors. An app that sends to a client that
    has left gets ClientGone.
    """

    begun = False

    async def app_send(self, message: ASGISendEvent | None) -> None:
        if message is None:
            await self._finish()
        elif self.closed and self.state is not ASGIHTTPState.CLOSED:
            raise ClientGone
        else:
            await self._pass_on(message)

    async def _pass_on(self, message: ASGISendEvent) -> None:
        is_body = message["type"] == "http.response.body"
        self.begun = self.begun or is_body
        await super().app_send(message)
        if is_body and self.state is ASGIHTTPState.RESPONSE:
            await self.send(Flush(stream_id=self.stream_id))
            # A write that need not wait is no checkpoint; an app that writes on and on needs one.
            await trio.lowlevel.checkpoint()

    async def _finish(self) -> None:
        if not self.begun:
            # The head is sent with the first part of the body. A 500 can still replace it.
            self.state = ASGIHTTPState.REQUEST
        await super().app_send(None)

    async def _send_error_response(self, status_code: int) -> None:
        body = error_body(status_code, UNEXPECTED)
        length = str(len(body)).encode()
        headers = [JSON, (b"content-length", length)]
        await self.send(
            Response(stream_id=self.stream_id, headers=headers, status_code=status_code)
        )
        if not suppress_body(self.scope["method"], status_code):
            await self.send(Body(stream_id=self.stream_id, data=body))
        await self.send(EndBody(stream_id=self.stream_id))
        self.state = ASGIHTTPState.CLOSED
