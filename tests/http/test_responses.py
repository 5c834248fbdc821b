import json
import os
from types import SimpleNamespace

import pytest
import trio

from ash.http.server import sender
from ash.http.server.sender import ClientGone

START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}
FAILED = {"error": "Unexpected failure: the server's log says more", "statusCode": 500}


def part(body):
    return {"type": "http.response.body", "body": body, "more_body": True}


def saying(*messages):
    """An app that sends these, whatever it is asked."""

    async def app(scope, receive, send):
        for message in messages:
            if isinstance(message, Exception):
                raise message
            await send(message)

    return app


@pytest.fixture
def writes(monkeypatch):
    """What the server writes, one item a write, without the heads' dates."""
    made = []

    def write(fd, data):
        count = os.write(fd, data)
        made.append(bytes(data[:count]))
        return count

    monkeypatch.setattr(sender, "os", SimpleNamespace(write=write))
    return made


async def test_head_and_first_body_are_one_write(serving, autojump_clock, writes):
    """The head waits for the first body and leaves with it, each later body by itself."""
    client = await (await serving(saying(START, part(b"one"), part(b"two"), LAST))).connect()
    await client.ask()
    assert [write.rpartition(b"\r\n\r\n3")[2] for write in writes[:2]] == [
        b"\r\none\r\n",
        b"3\r\ntwo\r\n",
    ]
    assert writes[2:] == [b"0\r\n\r\n"]


async def test_last_body_and_end_are_one_write(serving, autojump_clock, writes):
    """An answer in one message is one write, its end included."""
    client = await (await serving(saying(START, {**LAST, "body": b"all"}))).connect()
    await client.ask()
    assert [write.partition(b"\r\n\r\n")[2] for write in writes] == [b"3\r\nall\r\n0\r\n\r\n"]


async def test_head_is_not_sent_before_a_body(serving, autojump_clock, nursery):
    """A head whose body has not begun stays here: a failure can still replace it."""
    begun = trio.Event()

    async def app(scope, receive, send):
        await send(START)
        begun.set()
        await trio.sleep_forever()

    client = await (await serving(app)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await begun.wait()
    with trio.move_on_after(0) as nothing_yet:
        await client.read()
    assert nothing_yet.cancelled_caught


async def test_empty_body_sends_the_head(serving, autojump_clock):
    """An app that wants its head out at once sends an empty body after it."""

    async def app(scope, receive, send):
        await send(START)
        await send(part(b""))
        await trio.sleep_forever()

    client = await (await serving(app)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.read()).endswith(b"\r\n\r\n")


async def test_app_that_sends_on_leaves_the_loop_to_others(serving, autojump_clock):
    """Each body sent is a pass of the loop, also when the kernel takes it at once."""
    passes = 0

    async def app(scope, receive, send):
        await send(START)
        for _ in range(50):
            await send(part(b"x"))
        await send(LAST)

    async def count_passes():
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    client = await (await serving(app)).connect()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(count_passes)
        await client.ask()
        nursery.cancel_scope.cancel()
    assert passes >= 50


async def test_writers_of_one_answer_do_not_mix(serving, autojump_clock):
    """Two tasks of an app that send large bodies at once are written one after the other."""

    async def app(scope, receive, send):
        await send(START)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, part(b"a" * 1_000_000))
            nursery.start_soon(send, part(b"b" * 1_000_000))
        await send(LAST)

    client = await (await serving(app)).connect()
    answer = await client.ask()
    assert sorted([answer.body[:1_000_000], answer.body[1_000_000:]]) == [
        b"a" * 1_000_000,
        b"b" * 1_000_000,
    ]


async def test_headers_of_the_app_are_sent_as_they_are(serving, autojump_clock):
    """Repeated headers, any case and bytes beyond ASCII pass; the framing stays right."""
    headers = [
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"X-Name", "é".encode()),
        (b"Content-Length", b"2"),
    ]
    app = saying({**START, "headers": headers}, {**LAST, "body": b"ok"})
    client = await (await serving(app)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    head, _, body = (await client.read()).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 OK"
    assert {b"%s: %s" % header for header in headers} <= set(lines[1:])
    assert (lines.count(b"Transfer-Encoding: chunked"), body) == (0, b"ok")


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (201, b"HTTP/1.1 201 Created"),
        (204, b"HTTP/1.1 204 No Content"),
        (409, b"HTTP/1.1 409 Conflict"),
        (503, b"HTTP/1.1 503 Service Unavailable"),
        (299, b"HTTP/1.1 299 "),
    ],
)
async def test_status_line_has_the_standard_phrase(serving, autojump_clock, status, line):
    """Some clients show the phrase, and some take an answer without it for a failure."""
    client = await (await serving(saying({**START, "status": status}, LAST))).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert line == (await client.read()).partition(b"\r\n")[0]


async def test_errors_of_the_server_have_the_phrase_too(serving, autojump_clock):
    """What the app never sees is answered in the same form."""
    client = await (await serving(saying(START, LAST))).connect()
    await client.send(b"hello\r\n\r\n")
    assert b"HTTP/1.1 400 Bad Request" == (await client.read()).partition(b"\r\n")[0]


@pytest.mark.parametrize("header", [(b"x", b"a\r\nb: c"), (b"x y", b"a"), (b"x", b"\0")])
async def test_header_that_would_break_the_head_is_a_failure(
    serving, autojump_clock, header, caplog
):
    """A header with a line break or a bad name is never sent; the client gets a 500."""
    client = await (await serving(saying({**START, "headers": [header]}, LAST))).connect()
    assert (await client.ask()).status == 500


@pytest.mark.parametrize(
    "app",
    [
        saying(ValueError("boom")),
        saying(START, ValueError("boom")),
        saying(START, ExceptionGroup("both", [ValueError("boom"), KeyError()])),
        saying(),
        saying(START),
        saying(LAST),
    ],
)
async def test_app_that_fails_before_its_answer_is_a_500(serving, autojump_clock, app, caplog):
    """Raising, or ending without an answer, is told in the house's error body."""
    client = await (await serving(app)).connect()
    answer, again = await client.ask(), await client.ask(method="HEAD")
    assert (json.loads(answer.body), answer.status) == (FAILED, 500)
    assert answer.headers[b"content-type"] == b"application/json"
    assert (again.body, again.status) == (b"", 500)


@pytest.mark.parametrize("end", [[ValueError("boom")], []])
async def test_app_that_fails_within_its_answer_cuts_it(serving, autojump_clock, end, caplog):
    """An answer that breaks off ends without its last chunk, so that the client can tell."""
    client = await (await serving(saying(START, part(b"one"), *end))).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.read_to_end()).endswith(b"3\r\none\r\n")


async def test_answer_shorter_than_its_length_is_cut(serving, autojump_clock, caplog):
    """An app that promised more bytes than it sends can't confuse the next answer."""
    head = {**START, "headers": [(b"content-length", b"10")]}
    client = await (await serving(saying(head, {**LAST, "body": b"short"}))).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await client.read_to_end()).endswith(b"\r\n\r\nshort")


async def test_failure_of_the_app_is_logged_without_the_query(serving, autojump_clock, caplog):
    """The log names the path and the error; a ticket in the query stays out of it."""
    client = await (await serving(saying(ValueError("boom")))).connect()
    await client.ask("/a?ticket=secret")
    logged = caplog.text
    assert "http.app_failed" in logged
    assert "/a" in logged
    assert "ValueError: boom" in logged
    assert "secret" not in logged


async def test_early_answer_to_a_large_body_arrives(serving):
    """A client that is refused while it sends gets to read why, not a reset."""
    client = await (await serving(saying(START, {**LAST, "body": b"too much"}), tcp=True)).connect()
    size = 20_000_000
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
    await client.send(b"x" * size)
    answer = await client.answer("POST")
    assert (answer.body, answer.headers[b"connection"]) == (b"too much", b"close")
    assert await client.read() == b""


async def test_sending_after_the_end_is_the_apps_failure(serving, autojump_clock, caplog):
    """An app that goes on after its last body is told so, and its answer is whole."""
    failures = []

    async def app(scope, receive, send):
        await send(START)
        await send(LAST)
        try:
            await send(part(b"more"))
        except Exception as error:
            failures.append(error)
            raise

    client = await (await serving(app)).connect()
    assert [(await client.ask()).status, (await client.ask()).status] == [200, 200]
    assert not isinstance(failures[0], ClientGone)
