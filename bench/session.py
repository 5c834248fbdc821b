"""Fifty turns of one session through the daemon: their latency, its processes and their memory.

    .venv/bin/python bench/session.py [--engine claude-agent] [--turns 50]

The floor, measured in the same run, is the time that the model endpoint takes if it is asked
directly. The rest is the time of the CLI and ours.
"""

import argparse
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from ash.testing import StubModel

BIN = Path(sys.executable).parent


@contextmanager
def daemon(
    engine: str, model_url: str, more: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int, str]]:
    """A daemon on a port of its own: its pid, port and key. `more` adds to its environment."""
    with tempfile.TemporaryDirectory(prefix="ash-bench-") as data:
        # No stock: a second engine that boots in the first turns is measured elsewhere.
        settings = {"ANTHROPIC_API_KEY": "bench", "ASH_PRE_WARM_COUNT": "0"}
        env = {**os.environ, **settings, **(more or {}), "ANTHROPIC_BASE_URL": model_url}
        argv = [BIN / "ashd", "--port", "0", "--data-dir", data, "--engine", engine]
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=sys.stderr) as ashd:
            try:
                line = ashd.stdout.readline().decode()
                port = int(line.split()[2].rsplit(":", 1)[1])
                yield ashd.pid, port, Path(data, "initial-api-key").read_text().strip()
            finally:
                ashd.terminate()


class Client:
    def __init__(self, port: int, key: str = "") -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def request(self, method: str, path: str, body: str | None = None) -> http.client.HTTPResponse:
        self._http.request(method, path, body, self._headers)
        return self._http.getresponse()

    def post(self, path: str, body: object) -> http.client.HTTPResponse:
        return self.request("POST", path, json.dumps(body))

    def turn(self, session: str, text: str) -> tuple[float, float]:
        """Seconds to the first message and to the end."""
        start = time.perf_counter()
        response = self.post(f"/api/sessions/{session}/messages", {"content": text})
        first = 0.0
        for line in response:
            if not first and line == b"event: message\n":
                first = time.perf_counter() - start
        return first, time.perf_counter() - start


def model_floor(url: str, turns: int) -> float:
    """Median seconds of one answer asked of the model endpoint itself."""
    client = Client(int(url.rsplit(":", 1)[1]))
    body = {
        "model": "m",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": "floor"}],
    }
    took = []
    for _ in range(turns):
        start = time.perf_counter()
        client.post("/v1/messages", body).read()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def tree(root: int) -> dict[int, str]:
    """The processes below `root`, by pid, with their names."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.decode().splitlines()]
    found, grown = {root: "ashd"}, True
    while grown:
        new = {int(pid): name for pid, parent, name in rows if int(parent) in found}
        grown = not new.keys() <= found.keys()
        found |= new
    return found


def memory_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="claude-agent")
    parser.add_argument("--turns", type=int, default=50)
    args = parser.parse_args()
    with StubModel.in_thread() as model, daemon(args.engine, model.url) as (pid, port, key):
        client = Client(port, key)
        client.post("/api/agents", {"name": "bench", "systemPrompt": "Be brief."}).read()
        start = time.perf_counter()
        created = json.load(client.post("/api/sessions", {"agent": "bench"}))
        print(f"create {time.perf_counter() - start:.3f} s")
        session = created["session"]["id"]
        client.turn(session, "warm up")
        floor = model_floor(model.url, 20)
        before = tree(pid)
        memory = {p: memory_mb(p) for p in before}
        turns = [client.turn(session, f"turn {n}") for n in range(args.turns)]
        after = tree(pid)
        first = statistics.median(f for f, _ in turns)
        done = sorted(d for _, d in turns)
        median = statistics.median(done)
        print(f"{args.turns} turns on {args.engine}")
        print(f"model endpoint alone  median {floor * 1e3:6.1f} ms")
        print(f"first message         median {first * 1e3:6.1f} ms   {first / floor:.1f} x floor")
        print(f"done                  median {median * 1e3:6.1f} ms   {median / floor:.1f} x floor")
        print(f"done                  p95    {done[int(len(done) * 0.95)] * 1e3:6.1f} ms")
        print(f"the same processes before and after: {before.keys() == after.keys()}")
        for p, name in after.items():
            print(f"  {name:10} {memory.get(p, 0):7.1f} MB before {memory_mb(p):7.1f} MB after")


if __name__ == "__main__":
    main()
