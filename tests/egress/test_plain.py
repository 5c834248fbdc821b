"""Plain HTTP requests through the proxy."""

import h11
import pytest
import trio

from tests.support.egress import KEY, said, whole


def host(server):
    return f"127.0.0.1:{server.port}"


async def test_plain_request_reaches_its_host(proxy, serve):
    """The host gets path, headers and body as if asked directly, and no key."""
    server = await serve(whole)
    headers = [
        ("Accept", "text/html"),
        ("Cookie", "a=b"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Connection", "keep-alive"),
    ]
    async with proxy([host(server)]) as proxied:
        inside = await proxied.inside()
        request = [("Host", host(server)), ("Content-Length", "4"), *headers]
        url = f"http://{host(server)}/path?q=1"
        await inside.send(h11.Request(method="PUT", target=url, headers=request))
        await inside.send(h11.Data(b"body"), h11.EndOfMessage())
        status, _, body = await inside.answer()
    assert (200, b'{"ok":true}') == (status, body)
    assert (b"PUT", b"/path?q=1") == (server.asked[0].method, server.asked[0].target)
    expected = {
        "host": host(server),
        "accept": "text/html",
        "cookie": "a=b",
        "connection": "close",
        "content-length": "4",
    }
    assert expected == server.headers
    assert [b"body"] == server.bodies
    assert KEY not in str(server.asked)


async def test_plain_request_without_a_path_asks_for_the_root(proxy, serve):
    """`http://host` means `http://host/`."""
    server = await serve(whole)
    async with proxy([host(server)]) as proxied:
        inside = await proxied.inside()
        target = f"HTTP://{host(server)}"
        await inside.send(
            h11.Request(method="GET", target=target, headers=[("Host", host(server))])
        )
        await inside.send(h11.EndOfMessage())
        assert 200 == (await inside.answer())[0]
    assert b"/" == server.asked[0].target


async def test_plain_answer_passes_status_headers_and_cookies(proxy, serve):
    """The whole answer is passed on, also redirects, except hop-by-hop headers."""

    async def redirect(peer, request, server):
        headers = [
            ("Location", "http://elsewhere/"),
            ("Set-Cookie", "a=b"),
            ("Connection", "x-hop"),
            ("X-Hop", "1"),
        ]
        await peer.answer(302, b"moved", headers)

    server = await serve(redirect)
    async with proxy([host(server)]) as proxied:
        status, headers, body = await (await proxied.inside()).get(f"http://{host(server)}/")
    assert (302, b"moved") == (status, body)
    expected = {"content-length": "5", "location": "http://elsewhere/", "set-cookie": "a=b"}
    assert expected == headers


async def test_plain_answer_streams_as_it_comes(proxy, serve):
    """Each part arrives before the host sends the next one."""
    go = trio.Event()

    async def parts(peer, request, server):
        await peer.begin()
        await peer.send(h11.Data(b"one"))
        await go.wait()
        await peer.send(h11.Data(b"two"), h11.EndOfMessage())

    server = await serve(parts)
    async with proxy([host(server)]) as proxied:
        inside = await proxied.inside()
        url = f"http://{host(server)}/"
        await inside.send(h11.Request(method="GET", target=url, headers=[("Host", host(server))]))
        await inside.send(h11.EndOfMessage())
        await inside.event()
        assert b"one" == await inside.chunk()
        go.set()
        assert b"two" == await inside.body()


async def test_plain_requests_share_a_connection_inside(proxy, serve):
    """A client can ask several hosts on one connection to the proxy."""
    first, second = await serve(whole), await serve(whole)
    async with proxy([host(first), host(second)]) as proxied:
        inside = await proxied.inside()
        await inside.get(f"http://{host(first)}/")
        inside.http.start_next_cycle()
        await inside.get(f"http://{host(second)}/")
    assert 1 == len(first.asked) == len(second.asked)


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n"]
)
async def test_plain_host_that_speaks_something_else_is_a_502(proxy, listen, answer):
    """A host that hangs up or does not speak HTTP is a 502 with a reason."""

    async def odd(stream):
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    port = await listen(odd)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        told = await (await proxied.inside()).get(f"http://127.0.0.1:{port}/")
    assert 502 == told[0]
    assert "The host broke off" in said(told)


async def test_plain_host_that_says_nothing_is_a_502_in_time(proxy, listen, autojump_clock):
    """A host that never answers is an error in bounded time."""

    async def silent(stream):
        async with stream:
            await trio.sleep_forever()

    port = await listen(silent)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        told = await (await proxied.inside()).get(f"http://127.0.0.1:{port}/")
    assert (502, "The host does not answer in time") == (told[0], said(told))


async def test_plain_answer_before_the_body_was_read_is_passed_on(proxy, listen):
    """The answer of a host that refuses a large body early is passed on."""

    async def too_large(stream):
        async with stream:
            await stream.receive_some(100)
            await stream.send_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")

    port = await listen(too_large)
    async with proxy([f"127.0.0.1:{port}"]) as proxied:
        inside = await proxied.inside()
        named = [("Host", f"127.0.0.1:{port}"), ("Content-Length", "1000000")]
        target = f"http://127.0.0.1:{port}/"
        await inside.send(h11.Request(method="POST", target=target, headers=named))
        await inside.send(h11.Data(b"x" * 1_000_000), h11.EndOfMessage())
        assert (413, b"big") == (await inside.answer())[::2]


async def test_plain_request_to_a_host_inside_is_refused(proxy, serve):
    """The policy applies to plain HTTP as to tunnels."""
    server = await serve(whole)
    async with proxy("public") as proxied:
        told = await (await proxied.inside()).get(f"http://{host(server)}/")
    assert 403 == told[0]
    assert "a loopback address" in said(told)
    assert [("system", f"network: {said(told)}")] == proxied.log
    assert [] == server.asked
