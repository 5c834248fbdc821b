"""The proxy's side of a connection, without a proxy."""

import pytest
import trio

from ash.egress.proxy_connection import CHUNK, IDLE_SECONDS, ProxyConnection, Traffic

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
async def pair():
    """A client's stream, and the proxy's side of it."""
    inside, outside = map(trio.SocketStream, trio.socket.socketpair())
    async with inside, outside:
        yield inside, ProxyConnection(outside, Traffic())


async def test_client_that_sends_nothing_is_given_up(pair, autojump_clock):
    """A connection without a request is ended after a while."""
    _, client = pair
    assert await client.request() is None
    assert pytest.approx(IDLE_SECONDS) == trio.current_time()


async def test_client_that_does_not_finish_a_head_is_given_up(pair, autojump_clock):
    """A head that comes byte by byte has no more time than a whole one."""
    inside, client = pair

    async def slowly():
        for byte in REQUEST:
            await inside.send_all(bytes([byte]))
            await trio.sleep(IDLE_SECONDS / 10)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(slowly)
        assert await client.request() is None
        nursery.cancel_scope.cancel()


async def test_early_bytes_of_a_client_do_not_pile_up(pair):
    """At most one chunk is read from a client that sends early."""
    inside, client = pair
    await inside.send_all(REQUEST)
    await client.request()

    async def flood():
        while True:
            await inside.send_all(b"x" * CHUNK)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        for _ in range(5):
            async with trio.open_nursery() as watching:
                watching.start_soon(client.gone)
                await trio.testing.wait_all_tasks_blocked()
                watching.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert len(client._http.trailing_data[0]) <= CHUNK
