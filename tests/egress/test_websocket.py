"""WebSockets over plain HTTP through the proxy."""

import h11
import pytest
from trio.testing import wait_all_tasks_blocked

from tests.support.egress import whole

ASKS = [
    ("Connection", "keep-alive, Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.fixture
async def echoing(serve):
    """A server that accepts the change, says hello at once and echoes."""

    async def accept(peer, request, server):
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Accept", "x"),
        ]
        head = peer.http.send(h11.InformationalResponse(status_code=101, headers=headers))
        await peer.stream.send_all(head + b"hello")
        while chunk := await peer.stream.receive_some():
            await peer.stream.send_all(chunk)

    return await serve(accept)


async def _ask(proxied, server, headers):
    inside = await proxied.inside()
    host = f"127.0.0.1:{server.port}"
    await inside.send(
        h11.Request(method="GET", target=f"http://{host}/", headers=[("Host", host), *headers]),
        h11.EndOfMessage(),
    )
    return inside, await inside.event()


async def test_websocket_is_carried(proxy, echoing):
    """The host is asked for it, and its bytes pass both ways; what it says at once is not lost."""
    async with proxy([f"127.0.0.1:{echoing.port}"]) as proxied:
        inside, head = await _ask(proxied, echoing, ASKS)
        answer = dict(head.headers)
        assert (101, b"websocket", b"x") == (
            head.status_code,
            answer[b"upgrade"],
            answer[b"sec-websocket-accept"],
        )
        said = inside.http.trailing_data[0] or await inside.stream.receive_some()
        assert b"hello" == said
        await inside.stream.send_all(b"\x81\x02hi")
        assert b"\x81\x02hi" == await inside.stream.receive_some()
        assert (4, 4) == (proxied.egress.traffic.sent, proxied.egress.traffic.received)
    asked = {name: value.decode() for name, value in echoing.asked[0].headers}
    assert ("upgrade", "websocket") == (asked[b"connection"], asked[b"upgrade"])
    assert "dGhlIHNhbXBsZSBub25jZQ==" == asked[b"sec-websocket-key"]


async def test_host_that_refuses_a_websocket_answers(proxy, serve):
    """Its answer is passed on like any other, and the connection is of use after it."""
    server = await serve(whole)
    async with proxy([f"127.0.0.1:{server.port}"]) as proxied:
        inside, head = await _ask(proxied, server, ASKS)
        assert (200, b'{"ok":true}') == (head.status_code, await inside.body())
        await wait_all_tasks_blocked()
        inside.http.start_next_cycle()
        assert 200 == (await inside.get(f"http://127.0.0.1:{server.port}/"))[0]


@pytest.mark.parametrize(
    "headers",
    [
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "x")],
        [("Upgrade", "websocket")],
        [("Connection", "Upgrade")],
    ],
)
async def test_no_other_protocol_is_asked_for(proxy, serve, headers):
    """Behind a change to another one, requests would pass that nobody has checked."""
    server = await serve(whole)
    async with proxy([f"127.0.0.1:{server.port}"]) as proxied:
        assert 200 == (await _ask(proxied, server, headers))[1].status_code
    assert "close" == server.headers["connection"]
    assert "upgrade" not in server.headers
