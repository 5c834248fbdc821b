"""An HTTP connection of the stub model, over a stream in memory."""

import pytest
import trio
from trio.testing import memory_stream_pair

from ash.testing.connection import StubConnection

_GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def _receive(stream: trio.abc.ReceiveStream, ending: bytes) -> bytes:
    received = b""
    while not received.endswith(ending):
        received += await stream.receive_some()
    return received


async def test_connection_is_kept_for_further_requests() -> None:
    """Two requests that are sent at once are answered in order."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET + _GET)
    for body in (b"one", b"two"):
        head, _ = await connection.request()
        assert b"GET" == head.method
        await connection.send(200, body)
        assert (await _receive(client, body)).startswith(b"HTTP/1.1 200")


async def test_connection_is_over_when_the_client_hangs_up() -> None:
    """After a hang-up there is no next request, and no error."""
    client, server = memory_stream_pair()
    await client.aclose()
    assert await StubConnection(server).request() is None


async def test_connection_is_over_when_the_client_wants_so() -> None:
    """`Connection: close` ends the connection after the response."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    await connection.request()
    await connection.send(200, b"body")
    assert await connection.request() is None


async def test_client_that_waits_for_permission_gets_it() -> None:
    """`Expect: 100-continue` is answered before the body comes."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_send_when_allowed, client)
        _, body = await connection.request()
    assert b"body" == body


async def _send_when_allowed(client: trio.StapledStream) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    await client.send_all(head)
    assert (await _receive(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    await client.send_all(b"body")


async def test_response_to_head_has_no_body() -> None:
    """A response to HEAD has the length but no body."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET.replace(b"GET", b"HEAD"))
    await connection.request()
    await connection.send(200, b"body")
    assert b"content-length: 4" in (await _receive(client, b"\r\n\r\n")).lower()


async def test_head_and_first_part_go_out_together() -> None:
    """The head and the first part of a stream are one write."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET)
    await connection.request()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.stream, [(b"part", 0.0), (b"rest", 0.0)])
        first = await client.receive_some()
        assert first.startswith(b"HTTP/1.1 200")
        assert b"part" in first


async def test_stream_waits_after_each_part(autojump_clock) -> None:
    """The stream pauses after each part for the part's time."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET)
    await connection.request()
    start = trio.current_time()
    await connection.stream([(b"one", 2.0), (b"two", 1.0)])
    assert 3.0 == trio.current_time() - start


async def test_client_that_leaves_ends_the_stream_at_once(autojump_clock) -> None:
    """A client that leaves ends the pause between two parts."""
    client, server = memory_stream_pair()
    connection = StubConnection(server)
    await client.send_all(_GET)
    await connection.request()
    start = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_leave_after, client, b"one\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await connection.stream([(b"one", 600.0), (b"two", 0.0)])
    assert 0.0 == trio.current_time() - start


async def _leave_after(client: trio.StapledStream, ending: bytes) -> None:
    await _receive(client, ending)
    await client.aclose()
