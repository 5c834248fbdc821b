"""A POST answered by one SSE event: our HTTP server, bare trio with h11, and plain Hypercorn.

    .venv/bin/python bench/front.py [requests, default 3000]

A child process sends the requests to the servers in turn, each over one kept loopback connection,
so that all meet the same load. An answer is a head, an event and an end: our server and the bare
one write twice, Hypercorn three times.
"""

import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import quantiles
from typing import Any

import h11
import hypercorn.trio
import trio
from hypercorn.config import Config

from ash.http.server.server import open_listeners, serve

ROUNDS = 10
BODY = b'{"content":"hello"}'
EVENT = b'id: 1\nevent: message\ndata: {"type":"assistant","text":"hello"}\n\n'
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"access-control-allow-origin", b"*"),
]
REQUEST = (
    b"POST /api/sessions/9f1c1f0e-0f5e-4f0e-9a55-0d3a3b7a7d10/messages HTTP/1.1\r\n"
    b"Host: 127.0.0.1:4100\r\nAuthorization: Bearer 0123456789abcdef\r\n"
    b"Accept: text/event-stream\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)

CLIENT = """
import json, socket, sys, time
port, count, request = int(sys.argv[1]), int(sys.argv[2]), sys.stdin.buffer.read()
client = socket.create_connection(("127.0.0.1", port))
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
for _ in range(count):
    began = time.perf_counter()
    client.sendall(request)
    answer = b""
    while not answer.endswith(b"\\r\\n0\\r\\n\\r\\n"):
        data = client.recv(65536)
        if not data:
            sys.exit("closed after: %r" % answer)
        answer += data
    took.append(time.perf_counter() - began)
json.dump(took, sys.stdout)
"""


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Any) -> None:
    """The least that a hot route does: reads the request, sends one event."""
    while (await receive())["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def bare(stream: trio.SocketStream) -> None:
    """The same on trio and h11 alone: no deadline, and a client that leaves is not noticed."""
    connection = h11.Connection(h11.SERVER)
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(65536))
        elif isinstance(event, h11.EndOfMessage):
            head = h11.Response(status_code=200, headers=HEADERS)
            first = connection.send(head) + connection.send(h11.Data(data=EVENT))
            await stream.send_all(first)
            await stream.send_all(connection.send(h11.EndOfMessage()))
            connection.start_next_cycle()
        elif isinstance(event, h11.ConnectionClosed):
            return


async def ask(port: int, count: int) -> list[float]:
    command = [sys.executable, "-c", CLIENT, str(port), str(count)]
    child = await trio.run_process(command, stdin=REQUEST, capture_stdout=True)
    return list(map(float, json.loads(child.stdout)))


def show(name: str, took: list[float]) -> tuple[float, float]:
    cuts = quantiles(took, n=100)
    p50, p99 = cuts[49] * 1e6, cuts[98] * 1e6
    rate = len(took) / sum(took)
    print(f"{name:12} {rate:6.0f} requests/s   p50 {p50:4.0f} µs   p99 {p99:4.0f} µs")
    return p50, p99


async def start_servers(nursery: trio.Nursery) -> dict[str, int]:
    """The port of each server."""
    ours = await open_listeners("127.0.0.1", 0)
    theirs = await open_listeners("127.0.0.1", 0)
    config = Config()
    config.bind, config.errorlog, config.keep_alive_max_requests = ["127.0.0.1:0"], None, 10**9
    await nursery.start(partial(serve, app, ours, draining=trio.Event(), grace=1))
    await nursery.start(trio.serve_listeners, bare, theirs)
    [url] = await nursery.start(partial(hypercorn.trio.serve, app, config, mode="asgi"))
    return {
        "ash": ours[0].socket.getsockname()[1],
        "trio + h11": theirs[0].socket.getsockname()[1],
        "Hypercorn": int(url.rpartition(":")[2]),
    }


async def main(requests: int) -> None:
    took: dict[str, list[float]] = {}
    async with trio.open_nursery() as nursery:
        ports = await start_servers(nursery)
        for _ in range(ROUNDS):
            for name, port in ports.items():
                took.setdefault(name, []).extend(await ask(port, requests // ROUNDS))
        nursery.cancel_scope.cancel()
    cuts = {name: show(name, times) for name, times in took.items()}
    bare_p50, bare_p99 = cuts["trio + h11"]
    for name in ("ash", "Hypercorn"):
        p50, p99 = cuts[name]
        print(f"{name} / (trio + h11): p50 {p50 / bare_p50:.2f}, p99 {p99 / bare_p99:.2f}")


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
