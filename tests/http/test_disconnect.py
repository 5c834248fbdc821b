import pytest
import trio
from quart import Response
from quart_trio import QuartTrio

from ash.http.server.sender import ClientGone
from ash.http.server.tcp_server import TCPServer

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def part(body):
    return {"type": "http.response.body", "body": body, "more_body": True}


class Streaming:
    """An app that begins an answer and waits for its client to leave."""

    def __init__(self):
        self.begun = trio.Event()
        self.told = trio.Event()
        self.refused = None

    async def __call__(self, scope, receive, send):
        await send(START)
        await send(part(b"one"))
        self.begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.told.set()
        try:
            await send(part(b"two"))
        except OSError as error:
            self.refused = error
            raise


async def test_client_that_leaves_is_noticed_at_once(serving, autojump_clock):
    """The app gets its disconnect in mid-stream, without sending anything."""
    app = Streaming()
    client = await (await serving(app)).connect()
    await client.send(GET)
    await app.begun.wait()
    await client.stream.aclose()
    await app.told.wait()
    assert trio.current_time() == 0


async def test_client_that_resets_is_noticed_at_once(serving):
    """A reset is a disconnect like any other."""
    app = Streaming()
    client = await (await serving(app, tcp=True)).connect()
    await client.send(GET)
    await app.begun.wait()
    linger = trio.socket.SO_LINGER
    client.stream.setsockopt(trio.socket.SOL_SOCKET, linger, b"\1\0\0\0\0\0\0\0")
    await client.stream.aclose()
    with trio.fail_after(5):
        await app.told.wait()


async def test_sending_to_a_client_that_left_is_refused(serving, autojump_clock, caplog):
    """An app that sends on is told that nobody reads, and that is not logged as its failure."""
    app = Streaming()
    client = await (await serving(app)).connect()
    await client.send(GET)
    await app.begun.wait()
    await client.stream.aclose()
    await app.told.wait()
    await trio.testing.wait_all_tasks_blocked()
    assert isinstance(app.refused, ClientGone)
    assert caplog.text == ""


async def test_client_that_leaves_with_requests_sent_ahead_is_noticed(serving, autojump_clock):
    """A request that waits for its turn does not hide that its client has left."""
    app = Streaming()
    client = await (await serving(app)).connect()
    await client.send(GET + GET)
    await app.begun.wait()
    await client.stream.aclose()
    with trio.fail_after(5):
        await app.told.wait()


async def test_client_that_leaves_after_asking_to_upgrade_is_noticed(serving, autojump_clock):
    """Nor does a request to upgrade, as curl makes them by default for HTTP/2."""
    app = Streaming()
    client = await (await serving(app)).connect()
    await client.send(GET[:-2] + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n")
    await app.begun.wait()
    await client.stream.aclose()
    with trio.fail_after(5):
        await app.told.wait()


class Answering:
    """An app that answers each request when it may, and notes what it receives meanwhile."""

    def __init__(self):
        self.may = trio.Event()
        self.received = []

    async def __call__(self, scope, receive, send):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive, receive)
            await self.may.wait()
            await send({**START, "headers": [(b"content-length", b"4")]})
            await send({**LAST, "body": scope["path"].encode()})
            nursery.cancel_scope.cancel()

    async def _receive(self, receive):
        while not self.received or self.received[-1] != "http.disconnect":
            self.received.append((await receive())["type"])


@pytest.mark.parametrize("tcp", [False, True])
async def test_client_that_half_closes_is_answered(serving, tcp):
    """A client may send its request, say that it sends no more, and read on: `nc -N` does."""
    app = Answering()
    client = await (await serving(app, tcp=tcp)).connect()
    await client.send(b"POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")
    await client.stream.send_eof()
    while len(app.received) < 2:
        await trio.lowlevel.checkpoint()
    app.may.set()
    answer = await client.answer("POST")
    assert (200, b"/one", b"close") == (
        answer.status,
        answer.body,
        answer.headers[b"connection"],
    )
    assert b"" == await client.read()
    assert ["http.request", "http.half_closed"] == app.received


async def test_client_that_half_closes_is_answered_all_it_asked(serving, autojump_clock):
    """One request after the other; only with the last answer comes the end."""
    app = Answering()
    client = await (await serving(app)).connect()
    paths = [b"/one", b"/two", b"/six"]
    await client.send(b"".join(GET.replace(b"/", path, 1) for path in paths))
    await client.stream.send_eof()
    await trio.testing.wait_all_tasks_blocked()
    app.may.set()
    answers = [await client.answer() for _ in paths]
    assert paths == [answer.body for answer in answers]
    assert [b"keep-alive", b"keep-alive", b"close"] == [
        answer.headers.get(b"connection") for answer in answers
    ]
    assert b"" == await client.read()


async def test_client_that_half_closes_in_mid_request_is_gone(serving, autojump_clock):
    """Nothing runs of a request whose end never comes."""
    app = Answering()
    client = await (await serving(app)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    await client.stream.send_eof()
    assert b"" == await client.read()
    await trio.testing.wait_all_tasks_blocked()
    assert ["http.request", "http.disconnect"] == app.received


async def test_client_that_leaves_is_noticed_by_what_it_is_sent(serving):
    """Over TCP it looks like one that half-closes, until it refuses the first byte."""
    told = trio.Event()

    async def app(scope, receive, send):
        await send(START)
        while (event := (await receive())["type"]) != "http.disconnect":
            if event == "http.half_closed":
                await send(part(b"ping"))
        told.set()

    client = await (await serving(app, tcp=True)).connect()
    await client.send(GET)
    await client.stream.aclose()
    with trio.fail_after(5):
        await told.wait()


async def test_disconnect_comes_after_what_came_of_the_body(serving, autojump_clock):
    """An app that reads a body to which the end is missing gets what there is, then the end."""
    events = []
    done = trio.Event()

    async def app(scope, receive, send):
        while not events or events[-1]["type"] != "http.disconnect":
            events.append(await receive())
        done.set()

    client = await (await serving(app)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
    await trio.testing.wait_all_tasks_blocked()
    await client.stream.aclose()
    await done.wait()
    assert events == [
        {"type": "http.request", "body": b"half", "more_body": True},
        {"type": "http.disconnect"},
    ]


async def test_app_gets_the_disconnect_after_its_answer(serving, autojump_clock):
    """Whoever waits for the disconnect is released when the answer is complete."""
    released = trio.Event()

    async def app(scope, receive, send):
        await receive()
        await send(START)
        await send(LAST)
        assert (await receive())["type"] == "http.disconnect"
        released.set()

    client = await (await serving(app)).connect()
    await client.ask()
    with trio.fail_after(5):
        await released.wait()


async def test_asking_on_after_the_disconnect_leaves_the_loop_to_others(serving, autojump_clock):
    """An app that asks for more and more after the disconnect does not stop the server."""

    asked = 0

    async def ask_on(scope, receive, send):
        nonlocal asked
        while asked < 1000:
            await receive()
            asked += 1

    client = await (await serving(ask_on)).connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    await client.stream.aclose()
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert 0 < asked < 100


async def test_socket_is_closed_though_the_app_works_on(serving, monkeypatch, autojump_clock):
    """An app that pays no heed to the disconnect does not keep a descriptor."""
    served = []
    init = TCPServer.__init__

    def note(server, *given, **named):
        init(server, *given, **named)
        served.append(given[-1].socket)

    async def app(scope, receive, send):
        await trio.sleep_forever()

    monkeypatch.setattr(TCPServer, "__init__", note)
    client = await (await serving(app)).connect()
    await client.send(GET)
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert [-1] == [socket.fileno() for socket in served]


async def test_app_that_asks_a_client_for_its_body_in_vain_gets_the_disconnect(
    serving, autojump_clock
):
    """A "100 Continue" that can't be written is no failure of the app's."""
    asking, told = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        await asking.wait()
        assert (await receive())["type"] == "http.disconnect"
        told.set()

    client = await (await serving(app)).connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    await trio.testing.wait_all_tasks_blocked()
    client.stream.socket.shutdown(trio.socket.SHUT_RD)
    asking.set()
    with trio.fail_after(5):
        await told.wait()


async def test_app_is_told_at_once_that_its_request_was_refused(serving, autojump_clock, caplog):
    """A body that turns out to be malformed ends its request as a disconnect does."""
    refused = trio.Event()

    async def app(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        try:
            await send(START)
        except ClientGone:
            refused.set()

    client = await (await serving(app)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert (await client.answer("POST")).status == 400
    with trio.fail_after(1):
        await refused.wait()


async def test_app_may_finish_its_work_after_the_client_left(serving, autojump_clock):
    """The server does not cancel an app whose client left: what it does may concern others."""
    stored, left = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        await left.wait()
        await trio.lowlevel.checkpoint()
        stored.set()

    client = await (await serving(app)).connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    left.set()
    with trio.fail_after(5):
        await stored.wait()


async def test_cancelled_send_ends_the_connection(serving, autojump_clock):
    """An app that gives a send up cannot go on with half of an answer."""
    refused = trio.Event()

    async def app(scope, receive, send):
        await send(START)
        with trio.move_on_after(0.01):
            await send(part(b"x" * 10_000_000))
        try:
            await send(part(b"more"))
        except ClientGone:
            refused.set()

    client = await (await serving(app)).connect()
    await client.send(GET)
    with trio.fail_after(200):
        await refused.wait()
    assert not (await client.read_to_end()).endswith(b"more\r\n")


async def test_generator_of_quart_is_closed_when_its_client_leaves(serving, autojump_clock):
    """A streaming answer of Quart-Trio ends with its client."""
    quart = QuartTrio(__name__)
    begun, closed = trio.Event(), trio.Event()

    @quart.get("/")
    async def stream():
        async def parts():
            try:
                yield b"one"
                begun.set()
                await trio.sleep_forever()
            finally:
                closed.set()

        response = Response(parts())
        response.timeout = None
        return response

    client = await (await serving(quart)).connect()
    await client.send(GET)
    await begun.wait()
    await client.stream.aclose()
    with trio.fail_after(5):
        await closed.wait()


async def test_send_that_finds_nobody_reading_is_refused(serving, autojump_clock):
    """The very part that could not be written is told of, not only the next one."""
    refused = []

    async def app(scope, receive, send):
        await send(START)
        try:
            await send(part(b"x" * 5_000_000))
        except OSError as error:
            refused.append(error)
            raise

    server = await serving(app)
    client = await server.connect()
    await client.send(GET)
    await trio.sleep(100)
    assert [ClientGone] == [type(error) for error in refused]
