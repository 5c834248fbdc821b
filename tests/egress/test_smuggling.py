"""Requests that two programs could understand differently."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.egress import whole

BODY = b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 15\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 15\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\n\r\n",
        b"POST /v1/messages\r\nX: y HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /v1/mod\x80els HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: other:80\r\n\r\n",
        b"GET http://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET http://user@127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
        b"GET http://127.0.0.1:%d\\@evil/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
        b"GET https://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
        b"GET ftp://127.0.0.1:%d/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT 127.0.0.1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT user@127.0.0.1:%d HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT 127.0.0.1:%d/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT 127.0.0.1:%d HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
async def test_request_that_could_be_read_in_two_ways_is_refused(proxy, serve, head):
    """An ambiguous request is refused and reaches no host."""
    server = await serve(whole)
    head = head.replace(b"%d", b"%d" % server.port)
    async with proxy([f"127.0.0.1:{server.port}"], server.port) as proxied:
        answer = await proxied.raw(head + BODY)
    assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 505"}
    assert 1 == answer.count(b'"statusCode":')
    assert [] == server.asked
    assert 1 == len(proxied.log)


async def test_head_that_never_ends_is_refused(proxy):
    """A head beyond the bound is a 431, and no more of it is kept."""
    async with proxy() as proxied:
        answer = await proxied.raw(b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_chunk_that_is_malformed_ends_the_call(proxy, serve):
    """A body with broken framing never reaches the endpoint as a complete one."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        answer = await proxied.raw(
            b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\n{}\r\nzz\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert [] == server.bodies


async def test_request_is_framed_anew(proxy, serve):
    """A request with odd but clear framing is passed on in a plain form."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        for framing in (
            b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
            b"Content-Length: 2, 2\r\n\r\n{}",
            b"Connection: content-length, close\r\nContent-Length: 2\r\n\r\n{}",
            b"transfer-encoding:  CHUNKED\r\n\r\n2;x=y\r\n{}\r\n0\r\nX: trailer\r\n\r\n",
        ):
            line = b"POST /v1/messages HTTP/1.1\nHost: x\n"
            async with (await proxied.inside()).stream as stream:
                await stream.send_all(line + framing)
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 ")
    assert [b"{}"] * 4 == server.bodies
    framings = [
        value
        for request in server.asked
        for name, value in request.headers
        if name in {b"content-length", b"transfer-encoding"}
    ]
    assert [b"2", b"2", b"2", b"chunked"] == framings


pieces = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /v1/messages HTTP/1.1\r\n",
        b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n",
        b"Host: x\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"abc",
        b"\x00",
    ]
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.lists(pieces | st.binary(max_size=20), max_size=8).map(b"".join))
async def test_any_bytes_leave_the_proxy_serving(proxy, data):
    """Whatever bytes come, each answer is well-formed and the next client is served."""
    async with proxy("model-only") as proxied:
        stream = (await proxied.inside()).stream
        await stream.send_all(data)
        await stream.send_eof()
        answers = b"".join([bytes(chunk) async for chunk in stream])
        assert answers == b"" or answers.startswith(b"HTTP/1.1 ")
        assert 403 == (await proxied.ask("GET", "/v1/files"))[0]
