"""How much time forwarder, Unix socket and proxy add to a model call of a sandbox.

    .venv/bin/python bench/egress.py [calls, default 200]

As in production, each is a process: the endpoint, the forwarder, and a client. This process runs
the proxy. The client keeps two connections, one to the endpoint and one through the proxy, and
calls through each in turn. A call has a body as large as the CLI's first one; its answer is a
small event stream.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

import trio

from ash.egress import (
    MODEL_ONLY,
    SOCKET_NAME,
    Egress,
    ModelUpstream,
    credential_headers,
    open_listener,
)

BODY = json.dumps(
    {
        "model": "stub",
        "stream": True,
        "max_tokens": 100,
        "system": "x" * 48_000,
        "messages": [{"role": "user", "content": "hello"}],
    }
).encode()

FORWARDER = """
import sys, trio
from bridge import forward

async def main():
    async with trio.open_nursery() as nursery:
        print(await nursery.start(forward.serve, sys.argv[1]), flush=True)

trio.run(main)
"""

CLIENT = """
import json, socket, sys, time
ports, count, body = [int(sys.argv[1]), int(sys.argv[2])], int(sys.argv[3]), sys.stdin.buffer.read()
head = "POST /v1/messages HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nx-api-key: none\\r\\n"
request = (head + f"Content-Length: {len(body)}\\r\\n\\r\\n").encode() + body

def ask(client):
    began = time.perf_counter()
    client.sendall(request)
    answer, first = b"", 0
    while not answer.endswith(b"\\r\\n0\\r\\n\\r\\n"):
        data = client.recv(65536)
        if not data:
            sys.exit(f"closed after: {answer!r}")
        answer += data
        if not first and b"event:" in answer:
            first = time.perf_counter() - began
    return first, time.perf_counter() - began

clients = [socket.create_connection(("127.0.0.1", port)) for port in ports]
for client in clients:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    [ask(client) for _ in range(10)]
json.dump([[ask(client) for client in clients] for _ in range(count)], sys.stdout)
"""


@contextmanager
def started(*argv: str) -> Iterator[str]:
    """A process that prints one line, for as long as the context lasts."""
    with subprocess.Popen([sys.executable, *argv], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            child.terminate()


async def measure(endpoint: str, folder: Path, calls: int) -> list[list[list[float]]]:
    async def no_log(lines: object) -> None:
        print(lines, file=sys.stderr)

    async with (
        ModelUpstream(
            endpoint, credential_headers({"ANTHROPIC_API_KEY": "sk-ant-" + "k" * 90})
        ) as upstream,
        open_listener(folder) as listener,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(Egress(MODEL_ONLY, upstream, no_log).serve, listener)
        with started("-c", FORWARDER, str(folder / SOCKET_NAME)) as port:
            command = [sys.executable, "-c", CLIENT, endpoint.rpartition(":")[2], port, str(calls)]
            client = await trio.run_process(command, stdin=BODY, capture_stdout=True)
        nursery.cancel_scope.cancel()
    return json.loads(client.stdout)


def show(name: str, direct: list[float], proxied: list[float]) -> None:
    added = [b - a for a, b in zip(direct, proxied, strict=True)]
    figures = {
        "direct": median(direct),
        "by the proxy": median(proxied),
        "added p50": median(added),
        "added p90": quantiles(added, n=10)[8],
    }
    print(name.ljust(12), *(f"  {what} {took * 1e3:5.2f} ms" for what, took in figures.items()))


def run(calls: int) -> None:
    with tempfile.TemporaryDirectory() as folder, started("-m", "ash.testing") as endpoint:
        pairs = trio.run(measure, endpoint, Path(folder) / "run", calls)
    for number, name in enumerate(["first event", "whole answer"]):
        show(name, [a[number] for a, _ in pairs], [b[number] for _, b in pairs])


if __name__ == "__main__":
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
