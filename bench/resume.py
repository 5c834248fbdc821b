"""Pausing and resuming over HTTP: warm, in the sandbox that is still there, and cold, in a new one.

    .venv/bin/python bench/resume.py [--engine scripted] [--times 500] [--cold 20]

The floor is a GET of the session on the same connection in the same run. Unlike that, a pause or
a resume also commits to the store.
"""

import argparse
import json
import statistics
import time

from ash.testing import StubModel
from bench.session import Client, daemon


def timed(client: Client, method: str, path: str) -> float:
    """Milliseconds until it is answered."""
    begun = time.perf_counter()
    answer = client.request(method, path, "" if method == "GET" else "{}")
    body = answer.read()
    took = time.perf_counter() - begun
    assert answer.status == 200, body
    return took * 1e3


def line(name: str, took: list[float], floor: list[float]) -> None:
    median, late = statistics.median(took), sorted(took)[int(len(took) * 0.99)]
    share = median / statistics.median(floor)
    print(f"{name:14} p50 {median:7.2f} ms  {share:6.1f} x floor   p99 {late:7.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="scripted")
    parser.add_argument("--times", type=int, default=500)
    parser.add_argument("--cold", type=int, default=20)
    args = parser.parse_args()
    with StubModel.in_thread() as model, daemon(args.engine, model.url) as (_, port, key):
        client = Client(port, key)
        client.post("/api/agents", {"name": "bench", "systemPrompt": "Be brief."}).read()
        session = json.load(client.post("/api/sessions", {"agent": "bench"}))["session"]["id"]
        path = f"/api/sessions/{session}"
        client.turn(session, "warm up")
        floor, pauses, resumes, stops, cold = [], [], [], [], []
        for _ in range(args.times):
            floor.append(timed(client, "GET", path))
            pauses.append(timed(client, "POST", f"{path}/pause"))
            resumes.append(timed(client, "POST", f"{path}/resume"))
        for _ in range(args.cold):
            stops.append(timed(client, "POST", f"{path}/stop"))
            cold.append(timed(client, "POST", f"{path}/resume"))
    line("read", floor, floor)
    line("pause", pauses, floor)
    line("resume, warm", resumes, floor)
    line("stop", stops, floor)
    line("resume, cold", cold, floor)


if __name__ == "__main__":
    main()
