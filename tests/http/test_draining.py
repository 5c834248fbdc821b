import errno
from pathlib import Path

import pytest
import trio
from quart_trio import QuartTrio

from ash.http.server.tcp_server import ConnectionLimits

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


def part(body):
    return {"type": "http.response.body", "body": body, "more_body": True}


async def plain(scope, receive, send):
    await send(START)
    await send({**LAST, "body": b"ok"})


async def without_end(scope, receive, send):
    await send(START)
    await send(part(b"begun"))
    await trio.sleep_forever()


async def without_mercy(scope, receive, send):
    await send(START)
    while True:
        await send(part(b"x" * 10_000))


def quart():
    app = QuartTrio(__name__)

    @app.get("/")
    async def index():
        return "ok"

    return app


def count_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


async def drained(server):
    """Sets the drain event; answers after how many seconds the server has ended."""
    began = trio.current_time()
    server.draining.set()
    with trio.fail_after(200):
        await server.ended.wait()
    return round(trio.current_time() - began, 6)


@pytest.mark.parametrize("app", [plain, quart()])
async def test_idle_connections_end_at_once(serving, autojump_clock, app):
    """Connections that wait for a request, the next or the first, do not hold the server."""
    server = await serving(app)
    used, fresh = await server.connect(), await server.connect()
    await used.ask()
    await trio.testing.wait_all_tasks_blocked()
    assert await drained(server) == 0
    assert [await used.read(), await fresh.read()] == [b"", b""]


async def test_request_under_way_may_finish(serving, autojump_clock):
    """The server ends when the last answer does, whole, and not when its grace is over."""

    async def app(scope, receive, send):
        await send(START)
        await send(part(b"one "))
        await server.draining.wait()
        await trio.sleep(3)
        await send({**LAST, "body": b"two"})

    server = await serving(app)
    client = await server.connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    assert await drained(server) == 3
    assert (await client.answer()).body == b"one two"
    assert await client.read() == b""


async def test_answer_while_draining_tells_that_it_is_the_last(serving, autojump_clock):
    """An answer that begins while draining says that the connection ends with it."""

    async def app(scope, receive, send):
        await server.draining.wait()
        await trio.sleep(1)
        await plain(scope, receive, send)

    server = await serving(app)
    client = await server.connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    await drained(server)
    assert (await client.answer()).headers[b"connection"] == b"close"


async def test_head_that_has_begun_is_served(serving, autojump_clock):
    """A request of which something has come when draining begins is still answered."""
    server = await serving(plain)
    client = await server.connect()
    await client.send(GET[:10])
    await trio.testing.wait_all_tasks_blocked()
    server.draining.set()
    await trio.testing.wait_all_tasks_blocked()
    await client.send(GET[10:])
    assert (await client.answer()).body == b"ok"
    await server.ended.wait()


async def test_requests_sent_ahead_are_not_served_any_more(serving, autojump_clock):
    """Of several requests only the one under way is answered."""

    async def app(scope, receive, send):
        await server.draining.wait()
        await trio.sleep(1)
        await plain(scope, receive, send)

    server = await serving(app)
    client = await server.connect()
    await client.send(GET * 3)
    await trio.testing.wait_all_tasks_blocked()
    await drained(server)
    assert (await client.read_to_end()).count(b"HTTP/1.1 200") == 1


async def test_what_remains_after_the_grace_is_cut(serving, autojump_clock):
    """An answer without end is cancelled after the grace, and its client sees it cut."""
    server = await serving(without_end, grace=4)
    client = await server.connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    assert await drained(server) == 4
    assert (await client.read_to_end()).endswith(b"5\r\nbegun\r\n")


@pytest.mark.parametrize("tcp", [False, True])
async def test_stalled_reader_does_not_outlast_the_grace(serving, autojump_clock, tcp):
    """A client that reads nothing and stays holds a send, but not the shutdown."""
    server = await serving(without_mercy, grace=4, tcp=tcp)
    client = await server.connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    assert await drained(server) == 4


async def test_stalled_reader_does_not_hold_up_cancelling(serving, autojump_clock):
    """Cancelling the server ends a send that waits, at once."""
    server = await serving(without_mercy)
    client = await server.connect()
    await client.send(GET)
    await trio.testing.wait_all_tasks_blocked()
    server.scope.cancel()
    await server.ended.wait()
    assert trio.current_time() == 0


async def test_client_that_sends_on_holds_the_drain_for_a_second_at_most(serving, autojump_clock):
    """Who was refused in mid-body gets a moment to read why, also while draining."""
    server = await serving(plain, limits=ConnectionLimits(linger_timeout_draining=1))
    before, after = await server.connect(), await server.connect()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n"
    await before.send(head)
    await before.answer("POST")
    await trio.testing.wait_all_tasks_blocked()
    await after.send(head[:-2])
    await trio.testing.wait_all_tasks_blocked()
    server.draining.set()
    await trio.testing.wait_all_tasks_blocked()
    await after.send(head[-2:])
    await server.ended.wait()
    assert trio.current_time() == 1
    assert (await after.answer("POST")).body == b"ok"


async def test_nothing_is_accepted_while_draining(serving):
    """New connections are refused as soon as draining begins."""
    server = await serving(without_end, tcp=True)
    client = await server.connect()
    await client.send(GET)
    await client.read()
    server.draining.set()
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(OSError, match="all attempts to connect"):
        await trio.open_tcp_stream(*client.stream.socket.getpeername())


async def test_connection_that_comes_as_draining_begins_is_closed(serving, autojump_clock):
    """A connection that is accepted in the last moment does not hold the server."""
    server = await serving(plain)
    ours, theirs = trio.socket.socketpair()
    server.listener.offer_now(theirs)
    assert await drained(server) == 0
    with ours:
        assert await ours.recv(1) == b""


async def test_request_that_comes_as_draining_begins_is_not_begun(
    serving, autojump_clock, monkeypatch
):
    """What is read in the moment in which its connection is given up never reaches the app."""
    begun = []

    async def app(scope, receive, send):
        begun.append(scope)

    async def drain_and_receive(stream, size):
        if server.draining.is_set():
            return b""
        server.draining.set()
        with trio.CancelScope(shield=True):
            await trio.testing.wait_all_tasks_blocked()
        return GET

    server = await serving(app)
    client = await server.connect()
    monkeypatch.setattr(trio.SocketStream, "receive_some", drain_and_receive)
    await server.ended.wait()
    monkeypatch.undo()
    assert (begun, await client.read()) == ([], b"")


async def test_answer_before_requests_sent_ahead_is_not_lost_in_a_reset(serving):
    """A client that sent more than the server reads ahead still reads its answer and an end."""

    async def app(scope, receive, send):
        await server.draining.wait()
        await plain(scope, receive, send)

    server = await serving(app, tcp=True)
    client = await server.connect()
    request = GET[:-2] + b"X: " + b"x" * 9000 + b"\r\n\r\n"
    with trio.fail_after(20):
        await client.send(request * 16)
    await trio.testing.wait_all_tasks_blocked()
    server.draining.set()
    assert (await client.answer()).body == b"ok"
    assert await client.read() == b""


async def test_no_descriptor_and_no_task_is_left(serving):
    """Clients that asked, stalled, left, reset and stayed leave nothing behind."""
    descriptors = count_descriptors()
    tasks = trio.lowlevel.current_statistics().tasks_living
    server = await serving(without_mercy, grace=0.1, tcp=True)
    clients = [await server.connect() for _ in range(20)]
    for client in clients[:10]:
        await client.send(GET)
        await client.read()
    for client in clients[5:15]:
        await client.stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    await drained(server)
    for client in clients:
        await client.stream.aclose()
    assert count_descriptors() == descriptors
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def test_accepting_survives_a_lack_of_descriptors(serving, autojump_clock, caplog):
    """Without descriptors left the server tries again a little later."""
    server = await serving(plain)
    server.listener.errors.append(OSError(errno.EMFILE, "Too many open files"))
    first, second = await server.connect(), await server.connect()
    answers = [await first.ask(), await second.ask()]
    assert [answer.status for answer in answers] == [200, 200]
    assert "EMFILE" in caplog.text


async def test_client_that_left_before_it_was_served_harms_nobody(serving, autojump_clock):
    """A connection that is gone when its turn comes is passed over."""
    server = await serving(plain)
    ours, theirs = trio.socket.socketpair()
    ours.close()
    theirs.close()
    await server.listener.offer(theirs)
    client = await server.connect()
    assert (await client.ask()).status == 200


async def test_answer_that_cannot_be_written_harms_nobody(serving, autojump_clock, caplog):
    """A 500 that finds its client gone ends that connection only."""

    async def app(scope, receive, send):
        if scope["path"] == "/fails":
            await failing.wait()
        else:
            await plain(scope, receive, send)

    failing = trio.Event()
    server = await serving(app)
    first, second = await server.connect(), await server.connect()
    await first.send(b"GET /fails HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    first.stream.socket.shutdown(trio.socket.SHUT_RD)
    failing.set()
    await trio.testing.wait_all_tasks_blocked()
    assert (await second.ask()).status == 200
    assert caplog.text == ""


async def test_failure_in_one_connection_leaves_the_others(
    serving, autojump_clock, monkeypatch, caplog
):
    """A fault of the server in one connection ends that one, is logged, and no more."""
    server = await serving(plain)
    first, second = await server.connect(), await server.connect()
    await second.ask()
    monkeypatch.setattr("ash.http.server.h11_protocol.h11.Connection.next_event", None)
    await first.send(GET)
    assert await first.read() == b""
    monkeypatch.undo()
    assert (await second.ask()).status == 200
    assert "http.connection_failed" in caplog.text


@pytest.mark.parametrize(("patience", "ends"), [(10.0, 1), (0.5, 0.5)])
async def test_client_that_lingers_as_draining_begins_has_a_second_at_most(
    serving, autojump_clock, patience, ends
):
    """It still gets to read its answer, and no longer than it would have had."""
    limits = ConnectionLimits(linger_timeout=patience, linger_timeout_draining=1)
    server = await serving(plain, limits=limits)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
    assert (await client.answer("POST")).body == b"ok"
    await trio.testing.wait_all_tasks_blocked()
    assert await drained(server) == ends
