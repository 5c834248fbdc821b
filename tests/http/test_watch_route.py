"""The stream route, spoken to as the server speaks to it, on a clock that the test moves."""

from contextlib import asynccontextmanager

import pytest
import structlog
import trio
from trio.testing import wait_all_tasks_blocked

from ash import events
from ash.http.app import Services
from ash.http.asgi import PART_BYTES, PING_SECONDS
from ash.http.front import Front
from ash.sessions.frame_ring import RING_BYTES, FrameRing
from ash.sessions.watch import Watch

HELLO = b": stream\nretry: 1000\nid: 0\n\n"


class Keys:
    def tenant_of(self, authorization):
        return "us"


class Store:
    """Knows no frame. So all that the ring has dropped is missing."""

    async def in_turn(self, tenant, session_id, frame):
        return True

    async def frames_after(self, tenant, session_id, *, after, limit):
        return []


class Sessions:
    """One session, watched from its first frame; what the test shows is all in the ring."""

    def __init__(self):
        self._store = Store()
        self.stream = FrameRing(1)
        self.asked = []

    @asynccontextmanager
    async def watch(self, tenant, session_id, after):
        self.asked.append((tenant, session_id, after))
        yield Watch(self._store, tenant, session_id, self.stream, 1)

    def show(self, *data):
        self.stream.publish([events.Frame("message", text) for text in data])


class Request:
    """A GET, and what it is answered."""

    def __init__(self, sessions, nursery):
        services = Services(None, sessions, None, Keys(), None, dict, None)
        self._app = Front(services, None)
        self._to_app, self._received = trio.open_memory_channel(100)
        self.sent = []
        self.slow = None
        self.ended = trio.Event()
        self._nursery = nursery

    async def begin(self, query=b"", headers=()):
        path = "/api/sessions/some/stream"
        scope = {"type": "http", "path": path, "method": "GET", "query_string": query}
        self._nursery.start_soon(self._run, {**scope, "headers": list(headers)})
        await wait_all_tasks_blocked()

    def half_close(self):
        self._to_app.send_nowait({"type": "http.half_closed"})

    def leave(self):
        self._to_app.send_nowait({"type": "http.disconnect"})

    async def _run(self, scope):
        await self._app(scope, self._received.receive, self._send)
        self.ended.set()

    async def _send(self, event):
        if self.slow is not None:
            await self.slow.wait()
        self.sent.append(event)

    @property
    def chunks(self):
        return [event["body"] for event in self.sent[1:]]

    @property
    def whole(self):
        return self.sent[-1].get("more_body") is False


@pytest.fixture
def sessions():
    return Sessions()


@pytest.fixture
def request_(sessions, nursery):
    return Request(sessions, nursery)


async def test_stream_opens_at_once(request_):
    """With the client's cursor, before there is any frame."""
    await request_.begin()
    assert 200 == request_.sent[0]["status"]
    assert [HELLO] == request_.chunks


async def test_silence_is_filled_with_pings(request_, sessions, mock_clock):
    """Every fifteen seconds, and no frame is lost for it."""
    await request_.begin()
    for _ in range(2):
        mock_clock.jump(PING_SECONDS + 0.1)
        await wait_all_tasks_blocked()
    sessions.show(b"1")
    await wait_all_tasks_blocked()
    assert [b": ping\n\n"] * 2 == request_.chunks[1:3]
    assert request_.chunks[3].startswith(b"id: 1\n")


async def test_client_that_may_have_left_is_pinged_once(request_, sessions, mock_clock):
    """By the ping the server finds out whether it has; if not, the stream goes on."""
    await request_.begin()
    request_.half_close()
    await wait_all_tasks_blocked()
    assert [b": ping\n\n"] == request_.chunks[1:]
    sessions.show(b"1")
    await wait_all_tasks_blocked()
    assert request_.chunks[2].startswith(b"id: 1\n")
    mock_clock.jump(PING_SECONDS + 0.1)
    await wait_all_tasks_blocked()
    assert [b": ping\n\n"] == request_.chunks[3:]


async def test_client_that_may_have_left_is_pinged_after_what_is_being_sent(request_, sessions):
    """Not in the middle of a frame."""
    await request_.begin()
    request_.slow = trio.Event()
    sessions.show(b"1")
    await wait_all_tasks_blocked()
    request_.half_close()
    await wait_all_tasks_blocked()
    request_.slow.set()
    await wait_all_tasks_blocked()
    assert [b"id: 1", b": ping"] == [chunk.split(b"\n")[0] for chunk in request_.chunks[1:]]


async def test_slow_reader_is_told_what_it_missed(request_, sessions):
    """Its response goes on behind the gap, and ends as every other one."""
    await request_.begin()
    request_.slow = trio.Event()
    sessions.show(b"1")
    await wait_all_tasks_blocked()
    sessions.show(*[b"x" * 10_000] * (2 * RING_BYTES // 10_000))
    request_.slow.set()
    sessions.stream.end()
    await request_.ended.wait()
    earliest, next_id = sessions.stream.earliest, sessions.stream.next_id
    sent = b"".join(request_.chunks[1:])
    ids = [int(line[4:]) for line in sent.split(b"\n") if line.startswith(b"id: ")]
    assert [1, earliest - 1, *range(earliest, next_id)] == ids
    assert f'{{"requested":2,"earliest":{earliest},"latest":{next_id - 1}}}'.encode() in sent
    assert request_.whole


async def test_stream_whose_frames_could_not_be_stored_breaks_off(request_, sessions):
    """Its response has no end, so that the client can tell and come back."""
    await request_.begin()
    with structlog.testing.capture_logs() as logs:
        sessions.stream.break_off()
        await request_.ended.wait()
    assert not request_.whole
    assert [("http.reader_cut", "info")] == [(line["event"], line["log_level"]) for line in logs]


async def test_large_frame_is_sent_in_parts(request_, sessions):
    """A reader that takes none of them holds one of them in the server's memory, not the frame."""
    await request_.begin()
    sessions.show(b"x" * (5 * PART_BYTES))
    await wait_all_tasks_blocked()
    frame = b"id: 1\nevent: message\ndata: " + b"x" * (5 * PART_BYTES) + b"\n\n"
    assert frame == b"".join(request_.chunks[1:])
    assert [PART_BYTES] * 5 == [len(chunk) for chunk in request_.chunks[1:-1]]


async def test_reader_that_leaves_ends_the_request(request_):
    """Nobody is left who would follow."""
    await request_.begin()
    request_.leave()
    await request_.ended.wait()
    assert not request_.whole


async def test_end_of_the_stream_ends_the_response(request_, sessions):
    """As it should end, not as one that breaks off."""
    await request_.begin()
    sessions.stream.end()
    await request_.ended.wait()
    assert request_.whole


@pytest.mark.parametrize(
    ("query", "headers", "after"),
    [
        (b"", [], None),
        (b"after=0", [], 0),
        (b"after=7", [], 7),
        (b"", [(b"last-event-id", b"8")], 8),
        (b"after=7", [(b"last-event-id", b"8")], 8),
        (b"after=7", [(b"last-event-id", b"")], 7),
    ],
)
async def test_cursor_is_the_header_s_then_the_address_s(request_, sessions, query, headers, after):
    """An empty header says nothing."""
    await request_.begin(query, headers)
    assert [("us", "some", after)] == sessions.asked
