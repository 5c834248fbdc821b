"""Which connection ends when clients have too many."""

import errno
import logging

import msgspec
import pytest
import trio

from ash.errors import Unavailable
from ash.http.asgi import identify, public_error, send_error
from ash.http.server.connections import Connections, ConnectionsStatistics, site
from ash.http.server.tcp_server import ConnectionLimits
from tests.http.conftest import PairListener

LIMITS = ConnectionLimits(max_connections=8)  # 2 without a key, 6 with one, 4 of one tenant
START = {"type": "http.response.start", "status": 200, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


class Fake:
    def __init__(self, name, site="here", idle_until=None):
        self.name, self.site, self.idle_until = name, site, idle_until
        self.evicted = False

    def evict(self):
        self.evicted = True


def admitted(connections, *fakes, tenant=None):
    for one in fakes:
        connections.admit(one)
        if tenant:
            connections.identify(one, tenant)
    return list(fakes)


def ended(fakes):
    return [one.name for one in fakes if one.evicted]


async def app(scope, receive, send):
    """A path is `/` and whose key it shows; `/_/wait` and the like are never answered."""
    _, tenant, *wait = scope["path"].split("/")
    try:
        if tenant != "_":
            identify(scope, tenant)
    except Unavailable as error:
        await send_error(send, public_error(error, scope))
        return
    if wait:
        await trio.sleep_forever()
    await send(START)
    await send(LAST)


def test_oldest_stranger_of_the_address_with_the_most_ends():
    """Who opens many connections without a key ends his own, and nobody else's."""
    connections = Connections(16)
    first = admitted(connections, Fake("other", "there"), Fake("a"), Fake("b"), Fake("c"))
    more = admitted(connections, *(Fake(n) for n in range(10_000)))
    assert ["a", "b", "c"] == ended(first)
    assert [9997, 9998, 9999] == [one.name for one in more if not one.evicted]
    assert ConnectionsStatistics(0, 4) == connections.statistics()


def test_known_connection_outlives_any_number_of_strangers():
    """Connections that have shown a key don't make room for those that have not."""
    connections = Connections(16)
    known = admitted(connections, *(Fake(n, idle_until=1) for n in range(9)), tenant="us")
    admitted(connections, *(Fake(n) for n in range(1000)))
    assert [] == ended(known)
    assert ConnectionsStatistics(9, 4) == connections.statistics()


def test_tenant_with_too_many_loses_the_one_that_is_idle_for_longest():
    """His own idle connection ends for a new one of his."""
    connections = Connections(16)
    others = admitted(connections, Fake("other", idle_until=1), tenant="them")
    ours = [Fake("busy"), Fake("late", idle_until=20), Fake("early", idle_until=10)]
    admitted(connections, *ours, *(Fake(n) for n in range(6)), tenant="us")
    assert ["early"] == ended(admitted(connections, Fake("new"), tenant="us") + ours + others)


def test_tenant_whose_connections_are_all_in_use_is_told_so():
    """One tenant can't take all places: his next request is refused, another tenant's is not."""
    connections = Connections(16)
    admitted(connections, *(Fake(n) for n in range(9)), tenant="us")
    with pytest.raises(Unavailable, match=r"9 connections are in use.*max_connections"):
        admitted(connections, Fake("more"), tenant="us")
    [other] = admitted(connections, Fake("other"), tenant="them")
    assert not other.evicted
    assert ConnectionsStatistics(10, 1) == connections.statistics()


def test_connection_that_comes_to_serve_another_tenant_is_counted_once():
    """A proxy may send the requests of several tenants over one connection."""
    connections = Connections(16)
    [one] = admitted(connections, Fake("one"), tenant="us")
    connections.identify(one, "them")
    connections.leave(one)
    connections.identify(one, "us")
    assert ConnectionsStatistics(0, 0) == connections.statistics()
    assert set() == connections


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_of_one_site(one, other, same):
    """A host of IPv6 has a /64 of addresses, and counts as one."""
    assert same == (site(one) == site(other))


async def test_half_a_head_ends_in_words_when_others_come(serving, autojump_clock):
    """The oldest client without a key is told what to do, and its connection ends."""
    server = await serving(app, limits=LIMITS)
    client = await server.connect()
    await client.send(b"GET / HTTP/1.1\r\nHost:")
    await trio.testing.wait_all_tasks_blocked()
    for _ in range(2):
        await server.connect()
    answer = await client.answer()
    assert 503 == answer.status
    assert "with a key" in msgspec.json.decode(answer.body)["error"]
    assert b"" == await client.read_to_end()


@pytest.mark.parametrize("head", [b"", b"GET / HT", b"GET /_/wait HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_client_with_a_key_gets_in_while_thousands_without_one_try(
    serving, autojump_clock, head
):
    """Silent connections, half heads and requests without a key: none keeps a key out."""
    server = await serving(app, limits=LIMITS)
    watching = await server.connect()
    await watching.send(b"GET /us/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    ours = await server.connect()
    await ours.ask("/us")
    for _ in range(1000):
        stranger = await server.connect()
        await stranger.send(head)
        await trio.testing.wait_all_tasks_blocked()
        stranger.stream.socket.close()
        server.clients.pop()
    assert 200 == (await ours.ask("/us")).status
    late = await server.connect()
    assert 200 == (await late.ask("/us")).status
    with trio.move_on_after(1) as waiting:
        await watching.read()
    assert waiting.cancelled_caught


async def test_tenant_with_too_many_streams_is_refused_by_an_answer(serving, autojump_clock):
    """The answer is a 503 like any other, and the connection can be used again later."""
    server = await serving(app, limits=LIMITS)
    for _ in range(4):
        await (await server.connect()).send(b"GET /us/wait HTTP/1.1\r\nHost: x\r\n\r\n")
    await trio.testing.wait_all_tasks_blocked()
    client = await server.connect()
    answer = await client.ask("/us")
    assert (503, b"5") == (answer.status, answer.headers[b"retry-after"])
    assert "4 connections are in use" in msgspec.json.decode(answer.body)["error"]
    await trio.aclose_forcefully(server.clients[0].stream)
    await trio.testing.wait_all_tasks_blocked()
    assert 200 == (await client.ask("/us")).status


async def test_accept_without_descriptors_neither_spins_nor_ends(serving, autojump_clock, caplog):
    """The listener tries again ten times a second, and goes on."""
    caplog.set_level(logging.CRITICAL, "trio.serve_listeners")
    listener = PairListener()
    listener.errors = [OSError(errno.EMFILE, "Too many open files")] * 20
    began = trio.current_time()
    server = await serving(app, listener=listener)
    assert 200 == (await (await server.connect()).ask("/us")).status
    assert 2.0 == pytest.approx(trio.current_time() - began, abs=0.01)
