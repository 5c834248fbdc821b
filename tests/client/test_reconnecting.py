"""What a stream does about its connection: when it comes back, how soon, and when it gives up."""

import httpx
import pytest

from ash.client import AshApiError, MessageInDoubt
from ash.client import reconnecting as module
from ash.client.address import ServerAddress
from ash.client.reconnecting import (
    ATTEMPTS,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    ConnectionLost,
    ReconnectingStream,
)
from ash.client.stream_calls import send_message, stream_session

TARGET = ServerAddress("https://ash.example", "key", "api_key")
BROKEN = httpx.ReadError("reset")
GREETING = b": stream\nretry: 1000\nid: 6\n\n"


def response(status, text="", **headers):
    request = httpx.Request("GET", "https://ash.example/x")
    return httpx.Response(status, text=text, headers=headers, request=request)


def frame(number, event="text_delta"):
    return b"id: %d\nevent: %s\ndata: {}\n\n" % (number, event.encode())


@pytest.fixture
def message():
    """A message that has been sent and answered."""
    stream = ReconnectingStream(send_message("s1", "hi"), TARGET, None)
    stream.opened(response(200))
    return stream


@pytest.fixture
def watch():
    """A stream that has been opened."""
    stream = ReconnectingStream(stream_session("s1"), TARGET, None)
    stream.opened(response(200))
    return stream


def test_request_of_a_message(message):
    """The first is the message; what comes after asks for the frames behind the last."""
    fresh = ReconnectingStream(send_message("s1", "hi"), TARGET, None)
    message.feed(frame(7) + b"id: 8\nevent: text_delta\n")

    assert ("POST", {"content": "hi"}) == (fresh.request.method, fresh.request.body)
    assert ("GET", {"after": 7}, None) == (
        message.request.method,
        message.request.params,
        message.request.body,
    )


def test_request_before_any_frame(watch):
    """The greeting says where the stream began."""
    watch.feed(GREETING)

    assert {"after": 6} == watch.request.params


def test_done_ends_a_message_and_no_watch(message, watch):
    """A turn is over with its `done`; a session goes on."""
    for stream in (message, watch):
        stream.feed(frame(7) + frame(8, "done") + frame(9))

    assert (True, [7, 8]) == (message.over, [event.id for event in message.ready])
    assert (False, [7, 8, 9]) == (watch.over, [event.id for event in watch.ready])


def test_pauses_grow(watch, monkeypatch):
    """Doubled up to the longest; chance takes up to half of each off. Then it is over."""
    monkeypatch.setattr(module.random, "uniform", lambda _, high: high)
    watch.feed(GREETING)

    pauses = [watch.lost(BROKEN) for _ in range(ATTEMPTS)]

    assert [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE] == pauses[:3]
    assert LONGEST_PAUSE == max(pauses) == pauses[-1]
    assert 47.75 == sum(pauses)
    with pytest.raises(AshApiError, match=f"{ATTEMPTS} attempts to come back failed$"):
        watch.lost(BROKEN)
    assert watch.over


@pytest.mark.parametrize("more", [frame(7), b": ping\n\n"])
def test_pauses_after_something_was_heard(watch, more, monkeypatch):
    """A connection that brought more than its greeting was one: the pauses begin anew."""
    monkeypatch.setattr(module.random, "uniform", lambda _, high: high)
    watch.feed(GREETING)
    for _ in range(ATTEMPTS):
        watch.lost(BROKEN)
    watch.opened(response(200))
    watch.feed(GREETING)
    watch.feed(more)

    assert FIRST_PAUSE == watch.lost(BROKEN)


def test_greeting_alone_is_no_progress(watch):
    """A server that greets and hangs up, again and again, is given up."""
    watch.feed(GREETING)
    for _ in range(ATTEMPTS):
        watch.lost(BROKEN)
        watch.opened(response(200))
        watch.feed(GREETING)

    with pytest.raises(AshApiError, match="attempts to come back failed"):
        watch.lost(BROKEN)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_server_that_can_not_yet(watch, status):
    """One that is overloaded or starts is asked again."""
    watch.feed(GREETING)
    watch.lost(BROKEN)

    with pytest.raises(ConnectionLost, match=str(status)):
        watch.opened(response(status))
    assert watch.lost(ConnectionLost("x")) > 0


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_server_that_does_not_want(watch, status):
    """What will not change is final."""
    watch.feed(GREETING)
    watch.lost(BROKEN)

    with pytest.raises(AshApiError) as caught:
        watch.opened(response(status))
    assert (status, True) == (caught.value.status, watch.over)


@pytest.mark.parametrize("status", [409, 503])
def test_message_that_is_refused(status):
    """Also one that could be taken later is the caller's to send again."""
    stream = ReconnectingStream(send_message("s1", "hi"), TARGET, None)

    with pytest.raises(AshApiError, match=r"^no room$") as caught:
        stream.opened(response(status, '{"error": "no room"}', **{"Retry-After": "5"}))
    assert (status, {"Retry-After": "5"}) == (caught.value.status, caught.value.headers)


def test_end_of_the_session(watch):
    """A 204 says that nothing will come any more."""
    watch.feed(GREETING)
    watch.opened(response(204))

    assert watch.over


def test_stream_that_was_never_there():
    """The first connection is not tried again: whoever asks is told at once."""
    stream = ReconnectingStream(stream_session("s1", after=5), TARGET, None)

    with pytest.raises(AshApiError, match=r"^cannot reach https://ash.example: refused$"):
        stream.lost(httpx.ConnectError("[Errno 111] refused"))


@pytest.mark.parametrize(
    ("error", "in_doubt"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout(""), False),
        (httpx.WriteError("reset"), True),
        (httpx.ReadTimeout(""), True),
        (httpx.RemoteProtocolError("hung up"), True),
    ],
)
def test_message_that_was_not_answered(error, in_doubt):
    """Only what can't have reached the server was certainly not accepted."""
    stream = ReconnectingStream(send_message("s1", "hi"), TARGET, None)

    with pytest.raises(AshApiError) as caught:
        stream.lost(error)
    assert in_doubt == isinstance(caught.value, MessageInDoubt)


def test_answer_that_can_not_be_read(message):
    """What no other connection would mend is told at once."""
    message.feed(frame(7))

    with pytest.raises(AshApiError, match="not gzip"):
        message.lost(httpx.DecodingError("not gzip"))


def test_message_that_was_answered_without_a_frame(message):
    """There is no cursor, so nobody knows which turn is ours."""
    with pytest.raises(MessageInDoubt):
        message.lost(BROKEN)


def test_frames_without_ids(message):
    """Another server's stream can't be joined again; what was said stays said."""
    message.feed(b"event: text_delta\ndata: {}\n\n")

    with pytest.raises(AshApiError, match="no frame had an id to go on from") as caught:
        message.lost(BROKEN)
    assert not isinstance(caught.value, MessageInDoubt)


@pytest.mark.parametrize("breaks", [True, False])
def test_return_that_is_told(breaks):
    """A connection that breaks is; a stream that comes to its end is just asked for more."""
    told = []
    stream = ReconnectingStream(stream_session("s1", after=5), TARGET, told.append)
    stream.opened(response(200))
    with pytest.raises(ConnectionLost) as ended:
        stream.feed(b"")

    stream.lost(BROKEN if breaks else ended.value)

    assert breaks == bool(told)


def test_end_of_a_response(message):
    """One that ends before the turn does has broken off."""
    with pytest.raises(ConnectionLost):
        message.feed(b"")
