"""Bodies where none belong, and answers that lie about their end: nothing reaches another session.

The endpoint here is naive: it reads heads and no bodies, so what a body holds is its next request.
Whatever one sandbox makes of its connection, the next sandbox's request comes on a clean one.
"""

from contextlib import asynccontextmanager

import pytest
import trio

from ash.egress import SOCKET_NAME, Egress, ModelUpstream, credential_headers, open_listener, parse

HIDDEN = (
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: attacker\r\nContent-Length: 9999\r\n\r\n"
)
LENGTH = str(len(HIDDEN)).encode()
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)

JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
GOOD = JSON + b"Content-Length: 2\r\n\r\n{}"
FORGED = JSON + b'Content-Length: 10\r\n\r\n{"forged":'

# What a sandbox sends to get a request of its own onto a connection.
REQUESTS = {
    "get_with_length": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s",
    "head_with_length": b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s",
    "post": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s",
    "count": b"POST /v1/messages/count_tokens HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s",
    "expect": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    b"Content-Length: %s\r\n\r\n%s",
    "upgrade": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n"
    b"Content-Length: %s\r\n\r\n%s",
    "pipelined": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: %s\r\n\r\n%s",
    "connection_named": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\n"
    b"Content-Length: %s\r\n\r\n%s",
}
HEADS = {name: head % (LENGTH, HIDDEN) for name, head in REQUESTS.items()}
HEADS |= {
    "get_chunked": b"GET /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKED,
    "post_chunked": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKED,
    "extension": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2;GET=/\r\n{}\r\n0\r\nX: y\r\n\r\n" + HIDDEN,
    "cut": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n" + HIDDEN,
    "bytes_after_get": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n" + HIDDEN,
}

# What an endpoint answers, or a host in its place makes of it.
ANSWERS = {
    "plain": GOOD,
    "two": GOOD + FORGED,
    "error": b"HTTP/1.1 429 No\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "error_and_another": b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}" + FORGED,
    "informational": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nX: y\r\n\r\n" + GOOD,
    "switching": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n" + FORGED,
    "closing_that_stays": JSON + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}" + FORGED,
    "longer_than_said": JSON + b"Content-Length: 1\r\n\r\n{}" + FORGED,
    "no_content": b"HTTP/1.1 204 No\r\nContent-Length: 500\r\n\r\n" + FORGED,
    "extensions_and_trailers": JSON
    + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"
    + FORGED,
    "both_lengths": JSON
    + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    + FORGED,
    "early": GOOD,
}


class Naive:
    """Reads heads and no bodies. `asked` has the bytes of each connection."""

    def __init__(self, answer, *, early=False):
        self.answer = answer
        self.early = early
        self.asked = []

    async def serve(self, stream):
        number = len(self.asked)
        self.asked.append(b"")
        unread = b""
        try:
            if self.early:
                await stream.send_all(self.answer)
            while data := await stream.receive_some():
                self.asked[number] += data
                unread += data
                while b"\r\n\r\n" in unread:
                    head, _, unread = unread.partition(b"\r\n\r\n")
                    own = GOOD if b"x-api-key: key-of-the-victim" in head else self.answer
                    await stream.send_all(own)
        except trio.BrokenResourceError:
            pass


@asynccontextmanager
async def sandbox(upstream, folder, key):
    async def drop(_):
        pass

    headers = credential_headers({"ANTHROPIC_API_KEY": key}, None)
    egress = Egress(parse("model-only"), upstream, drop, headers=headers)
    async with open_listener(folder) as listener, trio.open_nursery() as nursery:
        nursery.start_soon(egress.serve, listener)
        yield str(folder / SOCKET_NAME)
        nursery.cancel_scope.cancel()


async def say(path, data, *, patience=5):
    """What comes back, up to a body `{}` or as far as it comes in time."""
    answer = b""
    async with await trio.open_unix_socket(path) as stream:
        await stream.send_all(data)
        with trio.move_on_after(patience):
            while b"{}" not in answer and (more := await stream.receive_some()):
                answer += more
    return answer


async def attack(tmp_path, request, answer, *, early=False):
    """What came on the victim's connections, and its answer, after a neighbour's request."""
    naive = Naive(answer, early=early)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, naive.serve, listeners)
        async with (
            ModelUpstream(f"http://127.0.0.1:{port}", []) as upstream,
            sandbox(upstream, tmp_path / "a", "key-of-the-attacker") as attacker,
            sandbox(upstream, tmp_path / "b", "key-of-the-victim") as victim,
        ):
            await say(attacker, request, patience=0.05)
            naive.early = False
            got = await say(
                victim,
                b'POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{"a":11}',
            )
        nursery.cancel_scope.cancel()
    with_victim = [asked for asked in naive.asked if b"key-of-the-victim" in asked]
    return with_victim, got


@pytest.mark.parametrize("request_", HEADS.values(), ids=HEADS)
async def test_request_never_becomes_the_start_of_another_sessions(tmp_path, request_):
    """The victim's request is the first on its connection, and its answer is its own."""
    connections, got = await attack(tmp_path, request_, GOOD)
    assert 1 == len(connections)
    assert connections[0].startswith(b"POST /v1/messages HTTP/1.1\r\n")
    assert b"attacker" not in connections[0]
    assert got.startswith(b"HTTP/1.1 200 ")
    assert b"{}" in got


@pytest.mark.parametrize("kind", ANSWERS)
async def test_answer_that_lies_about_its_end_reaches_no_other_session(tmp_path, kind):
    """Bytes behind an answer are nobody's, least of all another session's answer."""
    connections, got = await attack(tmp_path, HEADS["post"], ANSWERS[kind], early=kind == "early")
    assert 1 == len(connections)
    assert b"attacker" not in connections[0]
    assert b"forged" not in got
    assert got.startswith(b"HTTP/1.1 200 ")
