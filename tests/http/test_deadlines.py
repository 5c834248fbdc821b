import json
from contextlib import suppress

import pytest
import trio
from quart import request
from quart_trio import QuartTrio

from ash.http.server.sender import ClientGone
from ash.http.server.tcp_server import ConnectionLimits

HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


async def plain(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(LAST)


def quart():
    app = QuartTrio(__name__)

    @app.route("/", methods=["GET", "POST"])
    async def index():
        return str(len(await request.get_data()))

    return app


async def drip(client, data, pause):
    with trio.fail_after(200):
        while True:
            await client.send(data)
            await trio.sleep(pause)


class Watch:
    """How long a thing takes on the mock clock."""

    def __enter__(self):
        self.began = trio.current_time()
        return self

    def __exit__(self, *error):
        self.seconds = round(trio.current_time() - self.began, 6)


@pytest.mark.parametrize("app", [plain, quart()])
async def test_idle_connection_ends_after_keep_alive(serving, autojump_clock, app):
    """An idle connection ends when its time is up, counted from the last answer, no sooner."""
    client = await (await serving(app)).connect()
    await client.ask()
    await trio.sleep(599)
    await client.ask(method="POST", body=b"body")
    with Watch() as idle:
        end = await client.read()
    assert (end, idle.seconds) == (b"", 600)


@pytest.mark.parametrize(
    ("timeout", "announced"), [(600.0, b"timeout=599"), (2.0, b"timeout=1"), (1.9, None)]
)
async def test_time_for_the_next_request_is_announced(serving, autojump_clock, timeout, announced):
    """A second less than there is, so that no request meets the end of its connection."""
    server = await serving(plain, limits=ConnectionLimits(keep_alive_timeout=timeout))
    headers = (await (await server.connect()).ask()).headers
    assert announced == headers.get(b"keep-alive")
    assert (announced and b"keep-alive") == headers.get(b"connection")


@pytest.mark.parametrize(
    "head", [b"GET / HTTP/1.0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
)
async def test_connection_that_ends_announces_only_that(serving, autojump_clock, head):
    """Its client is told that no further request is served."""
    client = await (await serving(plain)).connect()
    await client.send(head)
    headers = (await client.answer()).headers
    assert b"close" == headers[b"connection"]
    assert b"keep-alive" not in headers


async def test_connection_that_says_nothing_ends(serving, autojump_clock):
    """A new connection has the time of a head to speak, and ends without a word."""
    client = await (await serving(plain)).connect()
    with Watch() as silent:
        end = await client.read()
    assert (end, silent.seconds) == (b"", 30)


@pytest.mark.parametrize("after", [0, 1])
async def test_head_that_drips_is_cut(serving, autojump_clock, after):
    """A head has 30 s from its first byte, on the first request and on a later one."""
    client = await (await serving(plain)).connect()
    for _ in range(after):
        await client.ask()
    with Watch() as dripping:
        for byte in HEAD[:3]:
            await client.send(bytes([byte]))
            await trio.sleep(9)
        answer = await client.answer()
    expected = {"error": "The head of the request took too long.", "statusCode": 408}
    assert (json.loads(answer.body), answer.status) == (expected, 408)
    assert (await client.read(), dripping.seconds) == (b"", 30)


async def test_clocks_of_head_and_body_begin_anew_with_each_request(serving, autojump_clock):
    """Two requests that take most of their time each do not add up."""
    client = await (await serving(plain)).connect()
    for _ in range(2):
        await client.send(b"POST / HTTP/1.1\r\n")
        await trio.sleep(20)
        await client.send(b"Host: x\r\nContent-Length: 1\r\n\r\n")
        await trio.sleep(20)
        await client.send(b"x")
        assert (await client.answer("POST")).status == 200


async def test_head_that_drips_after_requests_sent_ahead_is_cut(serving, autojump_clock):
    """The clock of a head that came together with an earlier request runs as well."""
    client = await (await serving(plain)).connect()
    await client.send(HEAD + b"\r\n" + HEAD)
    await client.answer()
    with Watch() as dripping:
        answer = await client.answer()
    assert (answer.status, dripping.seconds) == (408, 30)


async def test_upgrade_that_was_not_honoured_does_not_shorten_keep_alive(serving, autojump_clock):
    """A connection that waited after a request to upgrade is idle, not in mid-head."""
    client = await (await serving(plain)).connect()
    await client.ask(headers="Connection: upgrade\r\nUpgrade: h2c\r\n")
    with Watch() as idle:
        end = await client.read()
    assert (end, idle.seconds) == (b"", 600)


async def test_body_that_drips_is_cut(serving, autojump_clock):
    """A body that comes too slowly ends as a disconnect, though never silent for long."""
    events = []

    async def app(scope, receive, send):
        while not events or events[-1] != "http.disconnect":
            events.append((await receive())["type"])

    client = await (await serving(app)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")
    with Watch() as dripping, pytest.raises(trio.BrokenResourceError):
        await drip(client, b"x", 9)
    assert events[-1] == "http.disconnect"
    assert 30 < dripping.seconds < 40


async def test_slow_body_is_waited_for(serving, autojump_clock):
    """A body that comes at twice the least rate may take as long as it takes."""
    client = await (await serving(plain)).connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    for _ in range(10):
        await trio.sleep(10)
        await client.send(b"x" * 20_000)
    assert (await client.answer("POST")).status == 200


async def test_time_the_app_takes_is_not_the_clients(serving, autojump_clock):
    """A body that waits for a slow app is not cut, nor is a client that waits for its answer."""

    async def slow(scope, receive, send):
        await trio.sleep(100)
        await plain(scope, receive, send)

    client = await (await serving(slow)).connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            client.send,
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n" + b"x" * 500_000,
        )
        with Watch() as waiting:
            answer = await client.answer("POST")
    assert (answer.status, waiting.seconds) == (200, 100)


async def test_client_that_waits_to_continue_is_not_late(serving, autojump_clock):
    """The clock of a body runs from the moment that the client may send it."""

    async def slow(scope, receive, send):
        await trio.sleep(100)
        await receive()

    client = await (await serving(slow)).connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    )
    await client.read_until(b"100 Continue\r\n\r\n")
    with Watch() as silent:
        end = await client.read()
    assert (end, silent.seconds) == (b"", 30)


async def test_client_that_takes_nothing_is_cut(serving, autojump_clock):
    """A send that finds no room for 30 s is the end: the app is told as of any other leaving."""
    told, done = [], trio.Event()

    async def app(scope, receive, send):
        await send(START)
        with suppress(ClientGone):
            while True:
                await send({**LAST, "body": b"x" * 9999, "more_body": True})
        told.extend([(await receive())["type"], (await receive())["type"]])
        done.set()

    client = await (await serving(app)).connect()
    await client.send(HEAD + b"\r\n")
    with Watch() as stalled:
        with trio.fail_after(200):
            await done.wait()
    assert (told, stalled.seconds) == (["http.request", "http.disconnect"], 30)


async def test_client_that_takes_a_little_is_served(serving, autojump_clock):
    """A slow reader is not a stalled one: each bit it takes renews its time."""

    async def app(scope, receive, send):
        await send(START)
        await send({**LAST, "body": b"x" * 3_000_000})

    client = await (await serving(app)).connect()
    await client.send(HEAD + b"\r\n")
    received = b""
    with Watch() as slow:
        while not received.endswith(b"0\r\n\r\n"):
            await trio.sleep(20)
            more = await client.stream.receive_some(100_000)
            assert more
            received += more
    assert slow.seconds > 300


async def test_client_that_sends_on_after_its_answer_is_left(serving, autojump_clock):
    """Who is answered before its body was read has some seconds to read that, and no more."""

    async def refuse(scope, receive, send):
        await send(START)
        await send(LAST)

    server = await serving(refuse, limits=ConnectionLimits(linger_timeout=7))
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n")
    await client.answer("POST")
    with Watch() as sending, pytest.raises(trio.BrokenResourceError):
        await drip(client, b"x" * 1000, 2)
    assert sending.seconds == 8
