"""What a stream does about its connection, without I/O: `sync` and `asynchronous` do that."""

import random
from collections import deque
from collections.abc import Callable
from http import HTTPStatus

import httpx
from msgspec import Struct

from ash.client.errors import AshApiError, MessageInDoubt, refusal, told, was_sent
from ash.client.request import Request
from ash.client.sse import Event, Reader
from ash.client.target import Target

# The server says `: ping` every 15 s, so four missed ones mean that it is gone.
SILENCE = 60.0
# Seconds before each attempt to come back, doubled up to the longest, and up to half of each
# taken off by chance. All ten take 24 to 48: a server that ends and starts again needs 20.
FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0
ATTEMPTS = 10


class Streamed(Struct, frozen=True, kw_only=True):
    """A stream at `path`, behind the id `after`; with a `message` the turn that this starts."""

    path: str
    after: int | None = None
    message: Request[None] | None = None

    def request(self, after: int | None) -> Request[None]:
        params: dict[str, str | int] = {} if after is None else {"after": after}
        return Request(
            method="GET", path=self.path, params=params, result=type(None), patience=SILENCE
        )


class Broken(httpx.TransportError):
    """A response that ended too early, or that is none for now."""


class Ended(Broken):
    """A response that came to its end, although there may be more: the server says on return."""


class Following:
    """One stream, over as many connections as it takes: no frame is lost, none comes twice.

    Whoever does the I/O sends `request`, hands over the response (`opened`), its bytes (`feed`)
    and what broke (`lost`), and gives away what is `ready`, until it is `over`.
    """

    def __init__(
        self, streamed: Streamed, target: Target, on_reconnect: Callable[[str], None] | None
    ) -> None:
        self.ready: deque[Event] = deque()
        self.over = False
        self._streamed = streamed
        self._target = target
        self._on_reconnect = on_reconnect
        self._cursor = streamed.after
        self._connections = 0
        self._failures = 0
        self._reader = Reader()

    @property
    def request(self) -> Request[None]:
        """What opens the next connection. A message is sent by the first alone."""
        if self._connections == 0 and self._streamed.message:
            return self._streamed.message
        return self._streamed.request(self._cursor)

    @property
    def ends_by_itself(self) -> bool:
        """Whether the response ends behind the last frame, and its connection can be kept."""
        return self._streamed.message is not None and self._connections == 1

    def stop(self) -> None:
        """Nothing more is wanted."""
        self.over = True
        self.ready.clear()

    def opened(self, response: httpx.Response) -> None:
        """Takes the response; one that is no stream has been read.

        Raises AshApiError if it is a refusal, Broken if it may be none later.
        """
        status = response.status_code
        if status == HTTPStatus.NO_CONTENT and self._streamed.message is None:
            self.over = True
        elif is_stream(response):
            self._connections += 1
            self._reader = Reader()
        elif self._connections and (status >= 500 or status == HTTPStatus.TOO_MANY_REQUESTS):
            raise Broken(f"the server answered {status}")
        else:
            self.over = True
            raise refusal(response, self._target)

    def feed(self, chunk: bytes) -> None:
        """Takes bytes of the response; none at its end. Raises Broken if that is too early."""
        if not chunk:
            raise Broken("it ended early") if self._streamed.message else Ended("it ended")
        for event in self._reader.feed(chunk):
            self.ready.append(event)
            if self._streamed.message and event.event == "done":
                self.over = True
                return
        if self._reader.last_id is not None:
            self._cursor = self._reader.last_id
        # Its greeting is the first block of a stream: who gets no further has got nowhere.
        if self._reader.blocks > 1:
            self._failures = 0

    def lost(self, error: httpx.RequestError) -> float:
        """How many seconds to wait before coming back. Raises AshApiError if there is no way."""
        if failure := self._failure(error):
            self.over = True
            raise failure from None
        self._failures += 1
        if self._failures == 1 and self._on_reconnect and not isinstance(error, Ended):
            self._on_reconnect(f"{told(error, self._target).text}; coming back to the stream")
        pause = min(FIRST_PAUSE * 2.0 ** (self._failures - 1), LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1)  # noqa: S311 - it keeps a crowd apart, no secret

    def _failure(self, error: httpx.RequestError) -> AshApiError | None:
        """Why there is no coming back."""
        text = told(error, self._target).text
        sent = self._streamed.message is not None
        is_final = not isinstance(error, httpx.TransportError)
        if is_final or (not self._connections and not (sent and was_sent(error))):
            return told(error, self._target)
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
    """Whether its body is to be read as it comes."""
    return response.status_code == HTTPStatus.OK


def expect_pings(response: httpx.Response) -> None:
    """The head may take its time; from here on there is a ping before SILENCE is over.

    httpx has one timeout for both, which is asked for anew where the body begins.
    """
    response.request.extensions["timeout"]["read"] = SILENCE
