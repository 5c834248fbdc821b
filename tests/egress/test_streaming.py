"""Streams, slow readers and cancelled calls."""

import gc
from functools import partial

import h11
import pytest
import trio

from tests.support.egress import KEY


class Steps:
    """A handler that sends a part each time it is told to."""

    def __init__(self):
        self.go, self._go = trio.open_memory_channel(10)

    async def __call__(self, peer, request, server):
        await peer.body()
        await peer.begin(200, [("content-type", "text/event-stream")])
        async for part in self._go:
            if part is None:
                await peer.stream.aclose()
                return
            await peer.send(h11.Data(part))
        await peer.send(h11.EndOfMessage())


async def test_answer_streams_as_it_comes(proxy, serve):
    """Each event arrives before the endpoint has sent the next one."""
    steps = Steps()
    server = await serve(steps)
    async with proxy(model=server.port) as proxied:
        inside = await proxied.inside()
        await inside.begin("POST", "/v1/messages", [("Content-Length", "2")])
        await inside.send(h11.Data(b"{}"), h11.EndOfMessage())
        assert 200 == (await inside.event()).status_code
        for part in (b"event: one\n\n", b"event: two\n\n"):
            await steps.go.send(part)
            assert part == await inside.chunk()
        steps.go.close()
        assert await inside.chunk() is None


async def test_request_streams_as_it_comes(proxy, serve):
    """The endpoint gets each part of a body before the next one is sent."""
    got, parts = trio.open_memory_channel(10)

    async def reader(peer, request, server):
        while (part := await peer.chunk()) is not None:
            await got.send(part)
        await peer.answer(200, b"{}")

    server = await serve(reader)
    framings = [[("Content-Length", "6")], [("Transfer-Encoding", "chunked")]]
    async with proxy(model=server.port) as proxied:
        for framing in framings:
            inside = await proxied.inside()
            await inside.begin("POST", "/v1/messages", framing)
            for part in (b"one", b"two"):
                await inside.send(h11.Data(part))
                assert part == await parts.receive()
            await inside.send(h11.EndOfMessage())
            assert 200 == (await inside.answer())[0]


async def test_client_that_waits_for_100_continue_gets_it(proxy, serve):
    """A client that waits for `100 Continue` gets it."""

    async def reader(peer, request, server):
        await peer.answer(200, await peer.body())

    server = await serve(reader)
    async with proxy(model=server.port) as proxied:
        inside = await proxied.inside()
        headers = [("Content-Length", "2"), ("Expect", "100-continue")]
        await inside.begin("POST", "/v1/messages", headers)
        assert 100 == (await inside.event()).status_code
        await inside.send(h11.Data(b"{}"), h11.EndOfMessage())
        assert b"{}" == (await inside.answer())[2]
    assert "expect" not in server.headers


async def test_key_that_is_cut_into_chunks_does_not_get_inside(proxy, serve):
    """A key that the endpoint repeats in pieces is removed too."""

    async def pieces(peer, request, server):
        await peer.begin()
        for byte in b"you sent " + KEY.encode() + b", which is wrong":
            await peer.send(h11.Data(bytes([byte])))
        await peer.send(h11.EndOfMessage())

    server = await serve(pieces)
    async with proxy(model=server.port) as proxied:
        _, _, body = await proxied.ask("GET", "/v1/models")
    assert b"you sent " + b"*" * len(KEY) + b", which is wrong" == body


async def _started(proxied, steps):
    """A call whose answer has begun."""
    inside = await proxied.inside()
    await inside.begin("POST", "/v1/messages", [("Content-Length", "2")])
    await inside.send(h11.Data(b"{}"), h11.EndOfMessage())
    await inside.event()
    await steps.go.send(b"event: one\n\n")
    await inside.chunk()
    return inside


async def test_endpoint_that_breaks_off_cuts_the_answer(proxy, serve):
    """A broken stream does not look complete to the client."""
    steps = Steps()
    server = await serve(steps)
    async with proxy(model=server.port) as proxied:
        inside = await _started(proxied, steps)
        await steps.go.send(None)
        with pytest.raises(h11.RemoteProtocolError):
            await inside.chunk()
    said = f"network: The model endpoint http://127.0.0.1:{server.port} broke off in the middle"
    assert [("system", f"{said} of its answer")] == proxied.log


async def test_client_that_leaves_ends_the_call(proxy, serve):
    """When a client leaves, the endpoint's connection is closed at once."""
    steps = Steps()
    server = await serve(steps)
    async with proxy(model=server.port) as proxied:
        inside = await _started(proxied, steps)
        await inside.stream.aclose()
        with trio.fail_after(5):
            await _found_closed(steps, server)
        assert [] == proxied.log


async def _found_closed(steps, server):
    """True if the server's next send fails."""
    while not server.closed.is_set():
        await steps.go.send(b"event: more\n\n")
        await trio.testing.wait_all_tasks_blocked()


async def test_client_that_leaves_before_the_answer_ends_the_call(proxy, listen):
    """A call is cancelled if its client leaves before the answer begins."""
    closed = trio.Event()

    async def silent(stream):
        while await stream.receive_some():
            pass
        closed.set()

    port = await listen(silent)
    async with proxy(model=port) as proxied:
        inside = await proxied.inside()
        await inside.begin("GET", "/v1/models")
        await inside.send(h11.EndOfMessage())
        await trio.testing.wait_all_tasks_blocked()
        await inside.stream.aclose()
        with trio.fail_after(5):
            await closed.wait()


async def test_client_that_leaves_in_mid_request_ends_the_call(proxy, listen):
    """A call is cancelled if its client leaves in the middle of the body."""
    closed = trio.Event()

    async def reader(stream):
        while await stream.receive_some():
            pass
        closed.set()

    port = await listen(reader)
    async with proxy(model=port) as proxied:
        inside = await proxied.inside()
        await inside.begin("POST", "/v1/messages", [("Content-Length", "100")])
        await inside.send(h11.Data(b"{"))
        await trio.testing.wait_all_tasks_blocked()
        await inside.stream.aclose()
        with trio.fail_after(5):
            await closed.wait()
        assert [] == proxied.log


async def test_end_of_the_sandbox_ends_the_call(proxy, serve):
    """Cancelling the proxy closes the endpoint's connection and leaves no generator open."""
    steps = Steps()
    server = await serve(steps)
    async with proxy(model=server.port) as proxied:
        await _started(proxied, steps)
    with trio.fail_after(5):
        await _found_closed(steps, server)
    gc.collect()


async def endless(peer, request, server):
    await peer.begin()
    while True:
        await peer.send(h11.Data(b"x" * 65536))


async def test_client_that_takes_nothing_holds_up_no_other(proxy, serve):
    """A client that does not read delays no other client of its sandbox."""
    server = await serve(endless)
    async with proxy(model=server.port) as proxied:
        inside = await proxied.inside()
        await inside.begin("GET", "/")
        await inside.send(h11.EndOfMessage())
        await trio.testing.wait_all_tasks_blocked(0.05)
        held = proxied.egress.traffic.received
        assert 403 == (await proxied.ask("GET", "/v1/files"))[0]
        assert held < 2_000_000


async def test_client_that_takes_nothing_is_given_up(proxy, serve, autojump_clock):
    """A client that does not read for long loses its connection and its call."""
    server = await serve(endless)
    async with proxy(model=server.port) as proxied:
        inside = await proxied.inside()
        await inside.begin("GET", "/")
        await inside.send(h11.EndOfMessage())
        await server.closed.wait()


async def test_requests_sent_ahead_are_answered_in_order(proxy, serve):
    """Requests that a client sends early are answered in order."""

    async def number(peer, request, server):
        await peer.answer(200, request.target)

    server = await serve(number)
    line = partial("GET /v1/models/{} HTTP/1.1\r\nHost: x\r\n\r\n".format)
    async with proxy(model=server.port) as proxied:
        data = "".join(map(line, range(50))).removesuffix("\r\n") + "Connection: close\r\n\r\n"
        answers = await proxied.raw(data.encode())
    assert [b"/v1/models/%d" % n for n in range(50)] == [
        part.partition(b"HTTP/")[0] for part in answers.split(b"\r\n\r\n")[1:]
    ]
