"""Tunnels by CONNECT, and refusals."""

import pytest
import trio

from ash.egress.dial import Dialer
from ash.egress.listener import IDLE_SECONDS
from tests.support.egress import said


async def reversing(stream):
    """Sends back reversed what it got, once the other side has closed its sending side."""
    async with stream:
        data = b"".join([bytes(chunk) async for chunk in stream])
        await stream.send_all(data[::-1])


async def echo(stream):
    async with stream:
        async for chunk in stream:
            await stream.send_all(bytes(chunk))


async def swallow(stream):
    async with stream:
        async for _ in stream:
            pass


async def test_tunnel_carries_bytes_both_ways(proxy, listen):
    """After CONNECT the bytes of both sides pass unchanged."""
    port = await listen(echo)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        assert 200 == await inside.connect(f"127.0.0.1:{port}")
        for word in (b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
            await inside.stream.send_all(word)
            assert word == await inside.stream.receive_some()
        traffic = proxied.egress.traffic
    assert (1, 21, 21) == (traffic.hosts, traffic.sent, traffic.received)
    assert [] == proxied.log


async def test_tunnel_ends_each_direction_for_itself(proxy, listen):
    """A client that has closed its sending side still gets its answer."""
    port = await listen(reversing)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")
        await inside.stream.send_all(b"abc")
        await inside.stream.send_eof()
        assert b"cba" == b"".join([bytes(chunk) async for chunk in inside.stream])


async def test_tunnel_carries_much_both_ways_at_once(proxy, listen):
    """Megabytes arrive whole while both sides send."""
    port = await listen(echo)
    data = bytes(range(256)) * 16384
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")

        async def send():
            await inside.stream.send_all(data)
            await inside.stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            back = b"".join([bytes(chunk) async for chunk in inside.stream])
    assert data == back


async def test_tunnel_takes_bytes_sent_with_its_request(proxy, listen):
    """Bytes that a client sends right after its CONNECT are not lost."""
    port = await listen(echo)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        head = f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello"
        answer = await proxied.raw(head.encode(), end=True)
    assert answer.startswith(b"HTTP/1.1 200 Connection established\r\n")
    assert answer.endswith(b"\r\n\r\nhello")


async def test_tunnel_ends_when_the_host_is_gone(proxy, listen):
    """A host that closes ends the tunnel for the client."""

    async def goodbye(stream):
        await stream.aclose()

    port = await listen(goodbye)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")
        assert b"" == await inside.stream.receive_some()


async def test_tunnel_ends_when_the_client_is_gone(proxy, listen):
    """A client that leaves with bytes unread ends the connection to a silent host."""
    gone = trio.Event()

    async def says_one_thing(stream):
        async with stream:
            await stream.send_all(b"x" * 1000)
            while await stream.receive_some():
                pass
        gone.set()

    port = await listen(says_one_thing)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")
        await inside.stream.receive_some(1)
        await inside.stream.aclose()
        with trio.fail_after(5):
            await gone.wait()


async def test_tunnel_where_nothing_moves_is_ended(proxy, listen, autojump_clock):
    """An idle tunnel is ended, and its place is free again."""
    port = await listen(swallow)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")
        began = trio.current_time()
        assert b"" == await inside.stream.receive_some()
    assert pytest.approx(IDLE_SECONDS, abs=1) == trio.current_time() - began


@pytest.mark.parametrize("host", [echo, swallow])
async def test_tunnel_where_something_moves_goes_on(proxy, listen, autojump_clock, host):
    """A byte now and then in one direction keeps a tunnel open."""
    port = await listen(host)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        await inside.connect(f"127.0.0.1:{port}")
        for _ in range(5):
            await trio.sleep(IDLE_SECONDS - 1)
            await inside.stream.send_all(b"x")
            await trio.testing.wait_all_tasks_blocked()
        assert 5 == proxied.egress.traffic.sent


async def test_tunnel_that_is_refused_says_why(proxy):
    """A refusal is a 403 that says how to allow it, and a line in the session's log."""
    async with proxy(["pypi.org"]) as proxied:
        inside = await proxied.inside()
        await inside.connect("example.com:443")
        text = (await inside.body()).decode()
        words = (
            "example.com:443 is not a host that may be reached. To allow it, add"
            ' \\"example.com:443\\" to network in the agent\'s config.'
        )
        assert f'{{"error":"{words}","statusCode":403}}' == text
        assert [("system", "network: " + words.replace("\\", ""))] == proxied.log


async def test_refusal_of_a_tunnel_says_why_in_its_head(proxy):
    """Programs show the reason phrase or the headers; hardly one shows the body."""
    async with proxy(["pypi.org"]) as proxied:
        ask = b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
        first, second = (await proxied.raw(ask, end=True)).split(b"\r\n")[:2]
    words = b"example.com:443 is not a host that may be reached. To allow it, add "
    end = b"example.com:443%b to network in the agent's config."
    assert b'HTTP/1.1 403 %b"%b' % (words, end % b'"') == first
    details = b'%b\\"%b' % (words, end % b'\\"')
    assert b'proxy-status: ash; error=http_request_denied; details="%b"' % details == second


async def test_connection_after_a_refusal_is_of_use(proxy, listen):
    """A client may send another request on the same connection."""
    port = await listen(echo)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        assert 403 == await inside.connect("example.com:443")
        await inside.body()
        inside.http.start_next_cycle()
        assert 200 == await inside.connect(f"127.0.0.1:{port}")


async def test_loopback_is_refused_under_public(proxy, listen):
    """Under `public` no name leads to the host's own services."""
    port = await listen(echo)
    async with proxy("public") as proxied:
        for host in ("127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"):
            assert 403 == await (await proxied.inside()).connect(f"{host}:{port}")


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1"])
async def test_address_in_an_unusual_form_is_a_bad_request(proxy, host):
    """An address in an unusual form is refused before any lookup."""
    async with proxy("public") as proxied:
        assert 400 == await (await proxied.inside()).connect(f"{host}:80")


async def test_model_host_by_connect_is_a_matter_of_policy(proxy, listen):
    """A tunnel to the endpoint gets no key, and `model-only` does not allow it."""
    port = await listen(echo)
    async with proxy("model-only", port) as proxied:
        assert 403 == await (await proxied.inside()).connect(f"127.0.0.1:{port}")


async def test_refusals_come_one_after_the_other(proxy, autojump_clock):
    """Refusals are sent one at a time, with a pause."""

    async def ask():
        await (await proxied.inside()).connect("example.com:443")

    async with proxy("model-only") as proxied:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        assert trio.current_time() >= 2
        assert 100 == proxied.egress.traffic.refused


async def test_places_are_bounded_and_given_back(proxy, listen):
    """Connections beyond the bound wait until one of the sandbox's others ends."""
    port = await listen(echo)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        tunnels = [await proxied.inside() for _ in range(128)]
        for inside in tunnels:
            assert 200 == await inside.connect(f"127.0.0.1:{port}")
        late = await proxied.inside()
        answered = []

        async def connect():
            answered.append(await late.connect(f"127.0.0.1:{port}"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert [] == answered
            await tunnels[0].stream.aclose()
    assert [200] == answered


async def test_fault_in_one_connection_ends_no_other(proxy, listen):
    """An unexpected failure in one request does not end the proxy."""

    async def broken(host):
        raise RuntimeError("a fault")

    port = await listen(echo)
    async with proxy([f"127.0.0.1:{port}", "x.org"], dialer=Dialer(broken)) as proxied:
        assert b"" == await proxied.raw(b"CONNECT x.org:80 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert 403 == (await proxied.ask("GET", "/v1/files"))[0]


async def test_log_that_fails_costs_that_connection_alone(proxy):
    """If a refusal can't be logged, only that connection ends."""

    async def failing(lines):
        raise RuntimeError("the store is closed")

    async with proxy() as proxied:
        sink, proxied.egress._log = proxied.egress._log, failing
        assert b"" == await proxied.raw(b"GET /v1/files HTTP/1.1\r\nHost: x\r\n\r\n")
        proxied.egress._log = sink
        assert "is not a model call" in said(await proxied.ask("GET", "/v1/files"))
