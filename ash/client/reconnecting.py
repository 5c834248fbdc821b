"""When a stream reconnects, and from where. Without I/O: that is in `sync` and `asynchronous`."""

import random
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

import httpx
from msgspec import Struct

from ash.client.address import ServerAddress
from ash.client.errors import AshApiError, MessageInDoubt, refusal, told, was_sent
from ash.client.request import Request, given
from ash.client.sse import Event, Reader

# The server sends `: ping` every 15 s. After four missed pings it counts as gone.
SILENCE = 60.0
# Seconds before each attempt to reconnect, doubled up to the longest; chance takes off up to half
# of each. All ten take 24 to 48 s: a restart of the server takes 20.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0
ATTEMPTS = 10


class StreamRequest(Struct, frozen=True, kw_only=True):
    """A session's events after the id `after`; with a `message` the events of its turn."""

    session_id: str
    after: int | None = None
    message: Request[None] | None = None

    def resumed(self, after: int | None) -> Request[None]:
        """The request for the events after that id. It sends no message."""
        return Request(
            method="GET",
            path=("sessions", self.session_id, "stream"),
            params=given(after=after),
            result=type(None),
            patience=SILENCE,
        )


class ConnectionLost(httpx.TransportError):
    """The response ended too early, or the server can't give one yet."""


class StreamEnded(ConnectionLost):
    """The response ended, but more may follow: the server says so on the next request."""


class ReconnectingStream:
    """One stream over any number of connections: no event is lost, none comes twice.

    The caller does the I/O: it sends `request` and passes in the response (`opened`), its bytes
    (`feed`) and each failure (`lost`). It hands out the events in `ready` until `over` is set.
    """

    def __init__(
        self,
        request: StreamRequest,
        address: ServerAddress,
        on_reconnect: Callable[[str], None] | None,
    ) -> None:
        self.ready: deque[Event] = deque()
        self.over = False
        self._wanted = request
        self._address = address
        self._on_reconnect = on_reconnect
        self._cursor = request.after
        self._connections = 0
        self._failures = 0
        self._reader = Reader()

    @property
    def request(self) -> Request[None]:
        """The request for the next connection. Only the first one sends the message."""
        if self._connections == 0 and self._wanted.message:
            return self._wanted.message
        return self._wanted.resumed(self._cursor)

    @property
    def ends_by_itself(self) -> bool:
        """Whether the response ends after the last event, so that its connection can be reused."""
        return self._wanted.message is not None and self._connections == 1

    def stop(self) -> None:
        """Ends the stream; events that are ready are dropped."""
        self.over = True
        self.ready.clear()

    def opened(self, response: httpx.Response) -> None:
        """Takes the response. The caller has read its body unless it is a stream.

        Raises AshApiError if the server refuses for good, ConnectionLost if it may not later.
        """
        status = response.status_code
        if status == HTTPStatus.NO_CONTENT and self._wanted.message is None:
            self.over = True
        elif is_stream(response):
            self._connections += 1
            self._reader = Reader()
        elif self._connections and (status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS):
            raise ConnectionLost(f"the server answered {status}")
        else:
            self.over = True
            raise refusal(response, self._address)

    def feed(self, chunk: bytes) -> None:
        """Takes bytes of the response, empty at its end. Raises ConnectionLost if it ends early."""
        if not chunk:
            is_turn = self._wanted.message is not None
            raise ConnectionLost("it ended early") if is_turn else StreamEnded("it ended")
        for event in self._reader.feed(chunk):
            self.ready.append(event)
            if self._wanted.message and event.event == "done":
                self.over = True
                return
        if self._reader.last_id is not None:
            self._cursor = self._reader.last_id
        # The first block is the server's greeting. Only what follows it counts as progress.
        if self._reader.blocks > 1:
            self._failures = 0

    def lost(self, error: httpx.RequestError) -> float:
        """The seconds to wait before reconnecting. Raises AshApiError if that is no use."""
        if failure := self._failure(error):
            self.over = True
            raise failure from None
        self._failures += 1
        if self._failures == 1 and self._on_reconnect and not isinstance(error, StreamEnded):
            self._on_reconnect(f"{told(error, self._address).text}; coming back to the stream")
        pause = min(FIRST_PAUSE * 2.0 ** (self._failures - 1), LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1)  # noqa: S311 - it spreads clients out, it is no secret

    def _failure(self, error: httpx.RequestError) -> AshApiError | None:
        """The error to raise if reconnecting is no use."""
        text = told(error, self._address).text
        sent = self._wanted.message is not None
        is_final = not isinstance(error, httpx.TransportError)
        if is_final or (not self._connections and not (sent and was_sent(error))):
            return told(error, self._address)
        if sent and not self._reader.blocks and self._connections < 2:
            return MessageInDoubt(
                f"{text}, before the first frame: the message may have been accepted or not."
                " It was sent once; look at the session's messages before you send it again"
            )
        if self._cursor is None:
            return AshApiError(f"{text}, and no frame had an id to go on from{_GOES_ON[sent]}")
        if self._failures == ATTEMPTS:
            return AshApiError(f"{text}; {ATTEMPTS} attempts to come back failed{_GOES_ON[sent]}")
        return None


_GOES_ON = {True: "; the turn may go on", False: ""}


def is_stream(response: httpx.Response) -> bool:
    """Whether the response's body is an event stream."""
    return response.status_code == HTTPStatus.OK


def expect_pings(response: httpx.Response) -> None:
    """Limits the wait for each part of the body to SILENCE; the head may have taken longer.

    httpx has one read timeout for head and body, and reads it again where the body begins.
    """
    response.request.extensions["timeout"]["read"] = SILENCE
