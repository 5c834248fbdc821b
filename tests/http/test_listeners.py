import errno

import pytest
import trio

from ash.http.server.server import open_listeners

TCP = trio.socket.IPPROTO_TCP


@pytest.fixture
async def listening():
    """Opens listeners on an address, and closes them after the test."""
    opened = []

    async def listen(host, port=0):
        listeners = await open_listeners(host, port)
        opened.extend(listeners)
        return listeners

    yield listen
    for listener in opened:
        await listener.aclose()


async def accepted(listener):
    client = await trio.open_tcp_stream(*listener.socket.getsockname()[:2])
    server = await listener.accept()
    await client.aclose()
    return server


async def test_port_0_is_chosen_by_the_system(listening):
    """The caller asks the listener for the port it got."""
    [listener] = await listening("127.0.0.1")
    assert listener.socket.getsockname()[1] > 0


async def test_port_0_on_a_name_with_two_addresses_is_one_port(listening, monkeypatch):
    """Of several addresses the first alone is used, and the others are closed."""
    both = await trio.open_tcp_listeners(0, host="127.0.0.1")
    both += await trio.open_tcp_listeners(0, host="127.0.0.1")

    async def open_both(port, host):
        return list(both)

    monkeypatch.setattr(trio, "open_tcp_listeners", open_both)
    assert await listening("localhost") == both[:1]
    assert both[1].socket.fileno() == -1


async def test_connections_give_up_a_silent_peer(listening):
    """Connections inherit that what nobody acknowledges for 30 s is lost."""
    [listener] = await listening("127.0.0.1")
    async with await accepted(listener) as stream:
        assert stream.getsockopt(TCP, trio.socket.TCP_USER_TIMEOUT) == 30_000


async def test_port_in_use_is_said_clearly(listening):
    """The error names the address and what is wrong with it."""
    [listener] = await listening("127.0.0.1")
    port = listener.socket.getsockname()[1]
    with pytest.raises(
        OSError, match=rf"on 127\.0\.0\.1:{port}: Address already in use"
    ) as failure:
        await listening("127.0.0.1", port)
    assert failure.value.errno == errno.EADDRINUSE


async def test_address_of_another_machine_is_said_clearly(listening):
    """So does the error for an address that this machine does not have."""
    with pytest.raises(OSError, match=r"on 192\.0\.2\.1:0: Cannot assign requested address"):
        await listening("192.0.2.1")
