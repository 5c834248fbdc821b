"""The message route, spoken to as the server speaks to it."""

import json
from types import SimpleNamespace

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash import events
from ash.errors import Conflict, Unauthorized, Unavailable
from ash.http.app import Services
from ash.http.asgi import PING_SECONDS
from ash.http.cors import Cors
from ash.http.front import MAX_BODY, Front
from ash.requests.large_messages import MessageReader
from ash.sessions.frame_ring import RING_BYTES, FrameRing
from ash.store.frames import StoredFrame

PATH = "/api/sessions/some-session/messages"


class Keys:
    """Knows one key."""

    def tenant_of(self, authorization):
        if authorization != b"Bearer sesame":
            raise Unauthorized("This API key is not known")
        return "us"


class Store:
    """Knows no frame but the end of the turn, once there is one."""

    def __init__(self, turn):
        self._turn = turn

    async def in_turn(self, tenant, session_id, frame):
        return True

    async def frames_after(self, tenant, session_id, *, after, limit):
        last = self._turn.last_frame
        return [StoredFrame(last, "done", "completed", None)] if last else []


class Turn:
    def __init__(self, first_frame):
        self.first_frame = first_frame
        self.last_frame = None
        session = SimpleNamespace(id="some-session", tenant_id="us")
        stored = SimpleNamespace(session=session)
        self.context = SimpleNamespace(stored=stored, store=Store(self))


class Sessions:
    """One session, whose turn the test shows."""

    def __init__(self):
        self.stream = FrameRing(1)
        self.turn = Turn(1)
        self.asked = []
        self.refusal = None

    async def send(self, tenant, session_id, query, when_busy, *, resume):
        if self.refusal:
            raise self.refusal
        self.asked.append((tenant, session_id, query))
        return self.turn, self.stream

    def show(self, *frames):
        self.stream.publish([events.Frame("message", frame) for frame in frames])

    def end(self):
        self.turn.last_frame = self.stream.next_id
        self.stream.publish([events.done("some-session", "completed")])


class Request:
    """One request to the app, and what it answers."""

    def __init__(self, app, nursery):
        self._app = app
        self._nursery = nursery
        self._to_app, self._received = trio.open_memory_channel(100)
        self.sent = []
        self.slow = None
        self.ended = trio.Event()

    def begin(self, body=b'{"content":"hi"}', path=PATH, method="POST", key=b"Bearer sesame"):
        scope = {"type": "http", "path": path, "method": method, "query_string": b""}
        scope["client"] = ("127.0.0.1", 1)
        scope["headers"] = [(b"authorization", key)] if key else []
        parts = body if isinstance(body, list) else [body]
        for number, part in enumerate(parts, 1):
            event = {"type": "http.request", "body": part, "more_body": number < len(parts)}
            self._to_app.send_nowait(event)
        self._nursery.start_soon(self._run, scope)

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
    def status(self):
        return self.sent[0]["status"]

    @property
    def headers(self):
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def chunks(self):
        return [event["body"] for event in self.sent[1:]]

    @property
    def whole(self):
        """Whether the end of the body was sent."""
        return self.sent[-1].get("more_body") is False

    @property
    def error(self):
        assert self.whole
        body = json.loads(b"".join(self.chunks))
        assert {"error", "statusCode"} == body.keys()
        assert self.status == body["statusCode"]
        return body["error"]


@pytest.fixture
def sessions():
    return Sessions()


@pytest.fixture
def request_(sessions, nursery):
    services = Services(
        agents=None,
        sessions=sessions,
        files=None,
        keys=Keys(),
        tickets=None,
        health=dict,
        message_reader=MessageReader(),
    )

    async def rest(scope, receive, send):
        await send({"type": "rest", "path": scope["path"], "headers": []})

    return Request(Cors(Front(services, rest), ["*"]), nursery)


async def test_frames_are_streamed_as_they_come(request_, sessions):
    """Head first, then each frame when it is there, then the end after the last one."""
    sessions.show(b"1")
    request_.begin()
    await wait_all_tasks_blocked()
    assert (200, [b"id: 1\nevent: message\ndata: 1\n\n"]) == (request_.status, request_.chunks)
    sessions.show(b"2")
    await wait_all_tasks_blocked()
    sessions.end()
    await request_.ended.wait()
    end = b'id: 3\nevent: done\ndata: {"sessionId":"some-session","reason":"completed"}\n\n'
    assert [b"id: 2\nevent: message\ndata: 2\n\n", end, b""] == request_.chunks[1:]
    assert request_.whole


async def test_head_says_that_it_is_a_stream(request_, sessions):
    """No cache and no proxy on the way may hold frames back."""
    sessions.end()
    request_.begin()
    await request_.ended.wait()
    expected = {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "access-control-allow-origin": "*",
    }
    assert expected.items() <= request_.headers.items()


async def test_slash_at_the_end_of_the_path_changes_nothing(request_, sessions):
    """The route is the same."""
    sessions.end()
    request_.begin(path=PATH + "/")
    await request_.ended.wait()
    assert (200, "some-session") == (request_.status, sessions.asked[0][1])


async def test_next_turn_is_not_shown(request_, sessions):
    """A stream ends with its turn's last frame, whatever has been shown since."""
    sessions.show(b"1")
    sessions.end()
    sessions.show(b"3")
    request_.begin()
    await request_.ended.wait()
    assert b"data: 3" not in b"".join(request_.chunks)
    assert request_.whole


async def test_stream_begins_with_its_own_turn(request_, sessions):
    """What earlier turns have shown is not sent again."""
    sessions.show(b"earlier")
    sessions.turn.first_frame = 2
    sessions.end()
    request_.begin()
    await request_.ended.wait()
    assert b"earlier" not in b"".join(request_.chunks)


async def test_silence_is_filled_with_pings(request_, sessions, mock_clock):
    """No proxy takes a silent stream for a dead one, and no frame is lost for it."""
    request_.begin()
    await wait_all_tasks_blocked()
    for _ in range(2):
        mock_clock.jump(PING_SECONDS + 0.1)
        await wait_all_tasks_blocked()
    sessions.end()
    await request_.ended.wait()
    assert [b": ping\n\n"] * 2 == request_.chunks[:2]
    assert request_.chunks[2].startswith(b"id: 1\nevent: done\n")


async def test_client_that_leaves_ends_the_request(request_, sessions):
    """The request is over; nothing of the turn is touched."""
    request_.begin()
    await wait_all_tasks_blocked()
    request_.leave()
    await request_.ended.wait()
    assert not request_.whole
    assert sessions.turn.last_frame is None


@pytest.mark.parametrize("forgotten", [False, True])
async def test_client_that_falls_behind_gets_its_done(request_, sessions, forgotten):
    """It is told what it missed, also when the ring has forgotten the whole turn."""
    request_.begin()
    await wait_all_tasks_blocked()
    request_.slow = trio.Event()
    sessions.show(b"1")
    await wait_all_tasks_blocked()
    sessions.show(*[b"x" * 10_000] * (2 * RING_BYTES // 10_000))
    sessions.end()
    last = sessions.turn.last_frame
    if forgotten:
        sessions.show(*[b"y" * 10_000] * (2 * RING_BYTES // 10_000))
    earliest = min(sessions.stream.earliest, last)
    request_.slow.set()
    await request_.ended.wait()
    sent = b"".join(request_.chunks)
    ids = [int(line[4:]) for line in sent.split(b"\n") if line.startswith(b"id: ")]
    assert [1, earliest - 1, *range(earliest, last + 1)] == ids
    assert 1 == sent.count(b"event: gap\n") == sent.count(b"event: done\n")
    assert request_.whole


async def test_client_of_a_turn_that_could_not_be_stored_is_cut(request_, sessions, caplog):
    """Its stream breaks off without an end, so that it can tell and come back."""
    request_.begin()
    await wait_all_tasks_blocked()
    with caplog.at_level("INFO", "ash"):
        sessions.stream.break_off()
        await request_.ended.wait()
    assert not request_.whole
    assert ["http.reader_cut session='some-session'"] == caplog.messages


async def test_query_is_what_the_client_asked_for(request_, sessions):
    """Every field of the request goes to the session; the prompt byte for byte."""
    fields = {
        "includePartialMessages": True,
        "model": "m",
        "maxTurns": 3,
        "maxBudgetUsd": 0.5,
        "effort": "low",
        "thinking": {"type": "enabled", "budgetTokens": 2000},
        "outputFormat": {"type": "json_schema", "schema": {"type": "object", "x-mine": 1}},
    }
    prompt = b'[{"type": "text", "text": "h\\u00e9"}]'
    sessions.end()
    request_.begin(b'{"content":' + prompt + b"," + json.dumps(fields).encode()[1:])
    await request_.ended.wait()
    ((tenant, session_id, query),) = sessions.asked
    assert ("us", "some-session", "some-session") == (tenant, session_id, query.session_id)
    assert prompt == bytes(query.prompt)
    said = json.loads(msgspec.json.encode(query))
    assert fields == {name: said[name] for name in fields}


async def test_body_in_pieces_is_one_body(request_, sessions):
    """However the client cut it."""
    sessions.end()
    request_.begin([b'{"con', b'tent":"', b"", b'hi"}'])
    await request_.ended.wait()
    assert b'"hi"' == bytes(sessions.asked[0][2].prompt)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "content: this field is required"),
        (b"{", 400, "The body is not valid JSON"),
        (b'{"content":7}', 400, 'content: expected "str", got "int"'),
        ([b'{"content":"', b"x" * MAX_BODY, b'"}'], 413, "The body is larger than 50 MB"),
    ],
)
async def test_bad_body_is_refused(request_, sessions, body, status, words):
    """The error names what is wrong, and no turn begins."""
    request_.begin(body)
    await request_.ended.wait()
    assert status == request_.status
    assert words in request_.error
    assert [] == sessions.asked


@pytest.mark.parametrize("key", [None, b"Bearer open"])
async def test_request_without_a_key_is_refused(request_, sessions, key):
    """Nothing is read of a body before its sender is known."""
    request_.begin(b"not even JSON", key=key)
    await request_.ended.wait()
    assert (401, "This API key is not known") == (request_.status, request_.error)
    assert "Bearer" == request_.headers["www-authenticate"]
    assert [] == sessions.asked


@pytest.mark.parametrize(
    ("refusal", "status", "header"),
    [(Conflict("A turn is running"), 409, None), (Unavailable("Full"), 503, "retry-after")],
)
async def test_refusal_of_the_session_is_answered(request_, sessions, refusal, status, header):
    """What the session says is what the client gets, headers for browsers included."""
    sessions.refusal = refusal
    request_.begin()
    await request_.ended.wait()
    assert (status, refusal.text) == (request_.status, request_.error)
    assert {"access-control-allow-origin", "content-type"} <= request_.headers.keys()
    assert header is None or header in request_.headers


async def test_unexpected_failure_tells_nothing(request_, sessions, caplog):
    """A fault of ours is a 500 without a stack or a path, and in the log with both."""
    sessions.refusal = OSError("/data/ash.db: s3cret")
    request_.begin()
    await request_.ended.wait()
    assert (500, "Unexpected failure: the server's log says more") == (
        request_.status,
        request_.error,
    )
    assert "*" == request_.headers["access-control-allow-origin"]
    assert 1 == len(caplog.records)
    assert caplog.messages[0].startswith("http.failed ")
    assert "/data/ash.db: s3cret" in caplog.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", PATH),
        ("POST", "/api/sessions"),
        ("POST", "/api/sessions/a/b/messages"),
        ("POST", "/api/sessions//messages"),
        ("POST", "/x" + PATH),
    ],
)
async def test_every_other_route_is_the_app_s(request_, method, path):
    """The front takes the routes that stream and hands on the rest."""
    request_.begin(method=method, path=path)
    await request_.ended.wait()
    assert ("rest", path) == (request_.sent[0]["type"], request_.sent[0]["path"])
