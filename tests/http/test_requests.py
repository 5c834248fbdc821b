import json

import h11
import pytest
import trio

from ash.http.server.tcp_server import ConnectionLimits


async def echo(scope, receive, send):
    """Answers the method, path, query and body of the request."""
    body = b""
    while (event := await receive())["type"] == "http.request":
        body += event["body"]
        if not event["more_body"]:
            break
    query = scope["query_string"]
    text = b"%s %s?%s %s" % (scope["method"].encode(), scope["path"].encode(), query, body)
    length = (b"content-length", str(len(text)).encode())
    await send({"type": "http.response.start", "status": 200, "headers": [length]})
    await send({"type": "http.response.body", "body": text})


async def in_two_parts(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    await send({"type": "http.response.body", "body": b"two", "more_body": False})


async def until_disconnect(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass


async def test_request_is_passed_to_the_app(serving, autojump_clock):
    """The app gets method, decoded path, raw query and body, and its answer comes back."""
    client = await (await serving(echo)).connect()
    answer = await client.ask("/a%20b?c=%20d", "POST", body=b"hello")
    assert (answer.status, answer.body) == (200, b"POST /a b?c=%20d hello")


async def test_head_of_the_answer_has_a_date_and_no_server(serving, autojump_clock):
    """The server adds the date and what it does with the connection, and does not name itself."""
    client = await (await serving(echo)).connect()
    answer = await client.ask()
    assert set(answer.headers) == {b"content-length", b"date", b"connection", b"keep-alive"}


async def test_thousand_requests_use_one_connection(serving, autojump_clock):
    """A connection is not closed after a number of requests."""
    client = await (await serving(echo)).connect()
    bodies = [(await client.ask(f"/{number}")).body for number in range(1001)]
    assert bodies == [b"GET /%d? " % number for number in range(1001)]


async def test_pipelined_requests_are_answered_in_order(serving, autojump_clock):
    """Requests sent ahead are answered one after the other, in their order."""
    client = await (await serving(echo)).connect()
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(300)]
    await client.send(b"".join(requests))
    bodies = [(await client.answer()).body for _ in requests]
    assert bodies == [b"GET /%d? " % number for number in range(300)]


async def test_more_is_sent_ahead_than_is_read_ahead(serving, autojump_clock, nursery):
    """A client that sends ahead more than the server buffers is held, and served in the end."""
    client = await (await serving(echo)).connect()
    padding = b"X-Padding: " + b"x" * 8000
    request = b"GET / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n" % padding
    nursery.start_soon(client.send, request * 100)
    statuses = [(await client.answer()).status for _ in range(100)]
    assert statuses == [200] * 100


async def test_body_of_50_mb_reaches_the_app(serving, nursery):
    """A body of 50 MB arrives whole."""
    size = 50 * 1024 * 1024

    async def count(scope, receive, send):
        total, more = 0, True
        while more:
            event = await receive()
            total, more = total + len(event["body"]), event["more_body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(total).encode()})

    client = await (await serving(count, tcp=True)).connect()
    answer = await client.ask("/", "POST", body=b"x" * size)
    assert answer.body == str(size).encode()


async def test_no_more_is_read_ahead_than_a_little(serving, autojump_clock, nursery):
    """While a request is being answered, the ones behind it stay with their client."""
    sent = 0

    async def wait(scope, receive, send):
        await trio.sleep_forever()

    async def send_on():
        nonlocal sent
        while sent < 500:
            await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            sent += 1

    client = await (await serving(wait)).connect()
    nursery.start_soon(send_on)
    await trio.testing.wait_all_tasks_blocked()
    assert sent < 200


async def test_body_is_held_back_while_the_app_does_not_read(serving, autojump_clock, nursery):
    """Of a body that nobody reads the server takes no more than a few reads into memory."""
    sent = 0

    async def wait(scope, receive, send):
        await trio.sleep_forever()

    async def send_body():
        nonlocal sent
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n")
        while True:
            await client.send(b"x" * 10_000)
            sent += 10_000

    client = await (await serving(wait)).connect()
    nursery.start_soon(send_body)
    await trio.testing.wait_all_tasks_blocked()
    assert sent < 1_000_000


async def test_chunked_body_in_tiny_chunks_reaches_the_app(serving, autojump_clock):
    """A body in chunks of one byte is put together again."""
    client = await (await serving(echo)).connect()
    body = b"".join(b"1\r\n%c\r\n" % (97 + number % 26) for number in range(2000))
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + body + b"0\r\n\r\n")
    answer = await client.answer("POST")
    assert answer.body == b"POST /? " + bytes(97 + number % 26 for number in range(2000))


async def test_tiny_chunks_leave_the_loop_to_others(serving, autojump_clock):
    """While thousands of events of one read are taken apart, other tasks run too."""
    passes = 0

    async def count_passes():
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    client = await (await serving(echo)).connect()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_passes)
        await client.answer("POST")
        nursery.cancel_scope.cancel()
    assert passes > 20


async def test_client_is_told_to_continue_when_the_app_reads(serving, autojump_clock):
    """`Expect: 100-continue` is answered once the app asks for the body, and not before."""
    checked = trio.Event()

    async def check_first(scope, receive, send):
        await checked.wait()
        await echo(scope, receive, send)

    client = await (await serving(check_first)).connect()
    await client.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    with trio.move_on_after(0) as nothing_yet:
        await client.read()
    checked.set()
    go_on = await client.read()
    await client.send(b"ok")
    answer = await client.answer()
    assert nothing_yet.cancelled_caught
    assert (go_on, answer.body) == (b"HTTP/1.1 100 Continue\r\n\r\n", b"POST /? ok")


async def test_client_that_expects_to_continue_can_be_refused(serving, autojump_clock):
    """An app that answers without reading the body spares the client from sending it."""

    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    client = await (await serving(refuse)).connect()
    answer = await client.ask("/", "POST", "Expect: 100-continue\r\nContent-Length: 9\r\n")
    assert (answer.status, answer.headers[b"connection"]) == (401, b"close")


async def test_answer_without_length_is_chunked(serving, autojump_clock):
    """Where the app gives no length, the answer is chunked and the connection lives on."""
    client = await (await serving(in_two_parts)).connect()
    first, second = await client.ask(), await client.ask()
    assert (first.headers[b"transfer-encoding"], first.body) == (b"chunked", b"one two")
    assert second.body == b"one two"


async def test_head_request_gets_the_head_alone(serving, autojump_clock):
    """The answer to HEAD has the headers and no body, and the connection lives on."""
    client = await (await serving(echo)).connect()
    head, after = await client.ask(method="HEAD"), await client.ask()
    assert (head.headers[b"content-length"], head.body) == (b"8", b"")
    assert after.body == b"GET /? "


async def test_http_1_0_is_answered_and_closed(serving, autojump_clock):
    """HTTP/1.0 knows no chunks: the end of the answer is the end of the connection."""
    client = await (await serving(in_two_parts)).connect()
    await client.send(b"GET / HTTP/1.0\r\n\r\n")
    head, _, body = (await client.read_to_end()).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"one two"


async def test_connection_close_is_followed(serving, autojump_clock):
    """A client that asks for it gets its answer, and then the end of the connection."""
    client = await (await serving(echo)).connect()
    answer = await client.ask(headers="Connection: close\r\n")
    assert (answer.headers[b"connection"], await client.read()) == (b"close", b"")


async def test_input_after_the_last_request_is_ignored(serving, autojump_clock):
    """What follows a request with `Connection: close` does not spoil its answer."""
    client = await (await serving(echo)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n\r\nmore")
    assert (await client.answer()).status == 200


WEBSOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


async def test_input_after_the_last_request_is_not_kept(serving, autojump_clock, monkeypatch):
    """Nor is it held in memory, however much of it comes."""
    kept = 0
    receive_data = h11.Connection.receive_data

    def keep(self, data):
        nonlocal kept
        kept += len(data)
        receive_data(self, data)

    monkeypatch.setattr(h11.Connection, "receive_data", keep)
    client = await (await serving(until_disconnect)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await client.send(b"x" * 1_000_000)
    assert kept < 100_000


@pytest.mark.parametrize("upgrade", [WEBSOCKET, H2C])
async def test_upgrade_is_not_honoured(serving, autojump_clock, upgrade):
    """A request to upgrade is answered as if it did not ask, and the connection lives on."""
    client = await (await serving(echo)).connect()
    answer, after = await client.ask("/a", headers=upgrade), await client.ask("/b")
    assert (answer.status, answer.body) == (200, b"GET /a? ")
    assert after.body == b"GET /b? "


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
REFUSED = [
    (b"hello\r\n\r\n", 400, "illegal request line"),
    (b"\x16\x03\x01\x00", 400, "illegal request line"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "Missing mandatory Host: header"),
    (POST + b"bad header\r\n\r\n", 400, "illegal header line"),
    (
        POST + b"Authorization: Bearer key\r\r\n\r\n",
        400,
        "illegal header line, Authorization holds \\r: trim a value that is read from a file",
    ),
    (
        POST + b"X-Key: a\x00'b\r\n\r\n",
        400,
        "illegal header line, X-Key holds \\x00: trim a value that is read from a file",
    ),
    (POST + CHUNKED + b"\r\nzz\r\n", 400, "illegal chunk header"),
    (
        POST + CHUNKED + b"Content-Length: 1\r\n\r\n",
        400,
        "Both Content-Length and Transfer-Encoding are given",
    ),
    (
        b"POST / HTTP/1.0\r\n" + CHUNKED + b"Content-Length: 1\r\n\r\n",
        400,
        "Both Content-Length and Transfer-Encoding are given",
    ),
    (
        POST + b"Transfer-Encoding: gzip\r\n\r\n",
        501,
        "Only Transfer-Encoding: chunked is supported",
    ),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 501, "CONNECT is not offered"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "Only HTTP/1.0 and HTTP/1.1 are spoken"),
]


@pytest.mark.parametrize(("request_bytes", "status", "reason"), REFUSED)
async def test_bad_request_is_refused_in_words(
    serving, autojump_clock, request_bytes, status, reason
):
    """What is not HTTP/1.1 gets the house's error body, and the end of the connection."""
    client = await (await serving(until_disconnect)).connect()
    await client.send(request_bytes)
    answer = await client.answer()
    expected = {"error": f"The request is not valid HTTP: {reason}.", "statusCode": status}
    assert (expected, status) == (json.loads(answer.body), answer.status)
    assert answer.headers[b"content-type"] == b"application/json"
    assert answer.headers[b"cache-control"] == b"no-store"
    assert answer.headers[b"connection"] == b"close"
    assert await client.read() == b""


@pytest.mark.parametrize("empty", [b"\r\n", b"\n", b"\r\n" * 8])
async def test_empty_lines_before_a_request_are_ignored(serving, autojump_clock, empty):
    """Some clients send one after a body. The first request and later ones are served."""
    client = await (await serving(echo)).connect()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
    for _ in range(2):
        await client.send(empty + request)
        assert b"POST /? ok" == (await client.answer("POST")).body
    await client.send((empty + request) * 3)
    bodies = [(await client.answer("POST")).body for _ in range(3)]
    assert [b"POST /? ok"] * 3 == bodies


async def test_empty_line_may_come_in_pieces(serving, autojump_clock):
    """However the network cuts it."""
    client = await (await serving(echo)).connect()
    for piece in (b"\r", b"\n", b"\r", b"\nGET / HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
        await client.send(piece)
        await trio.testing.wait_all_tasks_blocked()
    assert b"GET /? " == (await client.answer()).body


@pytest.mark.parametrize("pieces", [[b"\r\n" * 9], [b"\r\n"] * 9, [b"\r", b"x"]])
async def test_empty_lines_have_a_bound(serving, autojump_clock, pieces):
    """A client can't hold a connection with nothing but empty lines."""
    client = await (await serving(echo)).connect()
    for piece in pieces:
        await client.send(piece)
        await trio.testing.wait_all_tasks_blocked()
    assert 400 == (await client.answer()).status
    assert b"" == await client.read()


async def test_refusal_of_a_head_request_has_no_body(serving, autojump_clock):
    """A HEAD that is refused gets the status and the length of the error, not the error."""
    client = await (await serving(echo)).connect()
    await client.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n" + CHUNKED + b"Content-Length: 1\r\n\r\n")
    answer = await client.answer("HEAD")
    assert (answer.status, await client.read()) == (400, b"")


async def test_refusal_reaches_a_client_that_sends_on(serving):
    """Who sends far too large a head gets to read why, and an end, not a reset."""
    client = await (await serving(echo, tcp=True)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 400_000)
    answer = await client.answer()
    expected = {"error": "The head of the request is too large.", "statusCode": 431}
    assert (expected, 431) == (json.loads(answer.body), answer.status)
    assert await client.read() == b""


async def test_refusal_leaves_the_client_time_to_stop_sending(serving, autojump_clock):
    """A client whose body is refused in mid-stream can send on for a while, and read why."""
    client = await (await serving(until_disconnect)).connect()
    await client.send(POST + CHUNKED + b"\r\nzz\r\n")
    assert (await client.answer("POST")).status == 400
    await client.send(b"more")
    assert await client.read() == b""


async def test_head_too_large_is_refused(serving, autojump_clock):
    """A head beyond the limit is a 431, before it has come to its end."""
    client = await (await serving(echo)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000)
    answer = await client.answer()
    expected = {"error": "The head of the request is too large.", "statusCode": 431}
    assert (expected, 431) == (json.loads(answer.body), answer.status)


async def test_bad_request_after_a_good_one_is_refused(serving, autojump_clock):
    """What was sent properly is answered before the rest is refused."""
    client = await (await serving(echo)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nhello\r\n\r\n")
    assert ((await client.answer()).status, (await client.answer()).status) == (200, 400)


async def test_head_as_large_as_the_limit_is_taken(serving, autojump_clock):
    """A head just below the limit is served."""
    client = await (await serving(echo, limits=ConnectionLimits(max_head=3000))).connect()
    answer = await client.ask(headers=f"X: {'x' * 2900}\r\n")
    assert answer.status == 200


async def test_last_request_of_a_connection_costs_nothing_while_it_is_answered(
    serving, autojump_clock
):
    """What follows it is not looked for again and again: the clock would never jump."""

    async def app(scope, receive, send):
        await trio.sleep(5)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    client = await (await serving(app)).connect()
    assert 204 == (await client.ask(headers="Connection: close\r\n")).status
    assert 5 == trio.current_time()


@pytest.mark.parametrize("end", [b"\r\n", b""])
async def test_head_of_very_many_lines_is_refused(serving, nursery, end):
    """Parsing them would hold up all others. It is refused before it is complete, too."""
    client = await (await serving(echo, tcp=True)).connect()
    head = b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a: b\r\n" * 3000 + end
    nursery.start_soon(client.send, head)
    assert 431 == (await client.answer()).status
