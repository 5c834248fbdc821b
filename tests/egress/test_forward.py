"""The forwarder inside the sandbox, which leads programs to the proxy's socket."""

import socket

import pytest
import trio

from bridge import forward


@pytest.fixture
async def forwarded(nursery, tmp_path):
    """`await forwarded(handler)`: a port that leads through a Unix socket to the handler."""

    async def start(handler):
        path = str(tmp_path / "egress.sock")
        outside = trio.socket.socket(socket.AF_UNIX)
        await outside.bind(path)
        outside.listen()
        listeners = [trio.SocketListener(outside)]
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        return await nursery.start(forward.serve, path)

    return start


async def echo(stream):
    async with stream:
        async for chunk in stream:
            await stream.send_all(bytes(chunk))


async def test_forwarder_carries_bytes_both_ways(forwarded):
    """Bytes pass from the port to the socket and back."""
    port = await forwarded(echo)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        for word in (b"one", b"two"):
            await stream.send_all(word)
            assert word == await stream.receive_some()


async def test_forwarder_passes_on_the_end_of_one_direction(forwarded):
    """A client that has closed its sending side still gets its answer."""

    async def reversing(stream):
        async with stream:
            data = b"".join([bytes(chunk) async for chunk in stream])
            await stream.send_all(data[::-1])

    port = await forwarded(reversing)
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"abc")
        await stream.send_eof()
        assert b"cba" == b"".join([bytes(chunk) async for chunk in stream])


async def test_forwarder_passes_on_that_a_client_has_left(forwarded):
    """The proxy notices that a client has closed, even with bytes unread."""
    left = trio.Event()

    async def talkative(stream):
        async with stream:
            await stream.send_all(b"x" * 1000)
            assert b"" == await stream.receive_some()
        left.set()

    port = await forwarded(talkative)
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    await stream.receive_some(1)
    await stream.aclose()
    with trio.fail_after(5):
        await left.wait()


async def test_forwarder_serves_many_at_once(forwarded):
    """A connection that waits does not delay others."""
    port = await forwarded(echo)
    opened = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
    await opened[-1].send_all(b"x")
    assert b"x" == await opened[-1].receive_some()
    for stream in opened:
        await stream.aclose()


async def test_forwarder_without_a_proxy_ends_the_connection(nursery, tmp_path):
    """Without the daemon's socket a client's connection is closed."""
    port = await nursery.start(forward.serve, str(tmp_path / "nothing.sock"))
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        assert b"" == await stream.receive_some()


async def test_forwarder_takes_a_free_port_where_its_own_is_taken(forwarded, tmp_path, nursery):
    """If the usual port is taken, a free one is used."""
    first = await forwarded(echo)
    second = await nursery.start(forward.serve, str(tmp_path / "egress.sock"))
    assert first != second
    async with await trio.open_tcp_stream("127.0.0.1", second) as stream:
        await stream.send_all(b"x")
        assert b"x" == await stream.receive_some()


def test_environment_leads_everything_to_the_port():
    """The variables send model calls and proxied requests to the port, and hold no key."""
    env = forward.environment(4000)
    url = "http://127.0.0.1:4000"
    proxies = ("ANTHROPIC_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
    assert [url] * 5 == [env[name] for name in proxies]
    assert "127.0.0.1,localhost" == env["NO_PROXY"] == env["no_proxy"]
    assert "added-by-the-proxy" == env["ANTHROPIC_API_KEY"]
