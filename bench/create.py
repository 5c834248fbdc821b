"""How long it takes to create a session: warm, cold, and twenty at once beside a running turn.

    .venv/bin/python bench/create.py [--engine claude-agent] [warm] [cold] [storm]

It uses HTTP on one kept connection. The floor of `warm` is a GET of a session in the same run; the
floor of `storm` is the same turn while nothing else goes on.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from statistics import median, quantiles

from session import Client, daemon

from ash.testing import StubModel

# The first message of the first turn, sent as soon as there is a session; of the next, while the
# pool boots another sandbox; and of one after that.
_TURNS = ("first turn, at once", "second turn, at once", "third turn, at rest")

# Deltas of the running turn: one each 25 ms, for so long that the storm has room beside it.
TICKS, TICK_SECONDS = 1200, 0.025
STORM = 20


class Bench:
    def __init__(self, port: int, key: str) -> None:
        self._port, self._key = port, key
        self.client = self.another()

    def another(self) -> Client:
        """On a connection of its own."""
        return Client(self._port, self._key)

    def deploy(self, warm: int) -> None:
        body = {"name": "bench", "systemPrompt": "Be brief.", "config": {"preWarmCount": warm}}
        self.client.post("/api/agents", body).read()

    def create(self, **more: object) -> str:
        answer = json.load(self.client.post("/api/sessions", {"agent": "bench", **more}))
        return answer["session"]["id"]

    def get(self, path: str) -> dict:
        return json.load(self.client.request("GET", path))

    def end(self, session: str) -> None:
        self.client.request("DELETE", f"/api/sessions/{session}").read()

    def rest(self, warm: int) -> None:
        """Until all that is to be warm is, and nothing boots."""
        while True:
            pool = self.get("/health")["pool"]
            if pool["warm"] == warm and not pool["warming"]:
                break
            time.sleep(0.05)
        time.sleep(0.5)


def timed(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def spread(values: list[float]) -> str:
    late = quantiles(values, n=20)[-1]
    return f"p50 {median(values) * 1e3:7.1f} ms   p95 {late * 1e3:7.1f} ms"


def warm(bench: Bench, rounds: int) -> None:
    """Created when what replaces the last one has booted; used at once, while the next one does."""
    bench.deploy(warm=1)
    took: dict[str, list[float]] = {
        name: [] for name in ("GET of a session", "create", *_TURNS, "create with its own prompt")
    }
    for number in range(rounds):
        bench.rest(warm=1)
        begun = time.perf_counter()
        session = bench.create()
        took["create"].append(time.perf_counter() - begun)
        for name in _TURNS:
            if name == _TURNS[-1]:
                bench.rest(warm=1)
            took[name].append(bench.client.turn(session, f"{name} {number}")[0])
        get = partial(bench.get, f"/api/sessions/{session}")
        took["GET of a session"] += [timed(get) for _ in range(5)]
        bench.end(session)
    for _ in range(max(3, rounds // 4)):
        bench.rest(warm=1)
        begun = time.perf_counter()
        session = bench.create(systemPrompt="Be verbose.")
        took["create with its own prompt"].append(time.perf_counter() - begun)
        bench.end(session)
    print(f"warm, {rounds} rounds")
    floor = median(took["GET of a session"])
    for name, seconds in took.items():
        print(f"  {name:36} {spread(seconds)}   {median(seconds) / floor:6.1f} x GET")


def cold(bench: Bench, rounds: int) -> None:
    bench.deploy(warm=0)
    took: list[float] = []
    steps: dict[str, list[float]] = {}
    for _ in range(rounds):
        bench.rest(warm=0)
        begun = time.perf_counter()
        session = bench.create()
        took.append(time.perf_counter() - begun)
        for name, seconds in _steps(bench, session):
            steps.setdefault(name, []).append(seconds)
        bench.end(session)
    print(f"cold, {rounds} rounds")
    print(f"  create                          {spread(took)}")
    rest = median(took) - sum(map(median, steps.values()))
    for name, seconds in steps.items():
        print(f"  {name:10} {median(seconds) * 1e3:7.1f} ms  {median(seconds) / median(took):4.0%}")
    print(f"  {'the rest':10} {rest * 1e3:7.1f} ms  {rest / median(took):4.0%}")


def _steps(bench: Bench, session: str) -> list[tuple[str, float]]:
    """From the log: `started: bridge 0.031 s, engine 0.8 s`."""
    lines = [line["text"] for line in bench.get(f"/api/sessions/{session}/logs")["logs"]]
    (line,) = [line for line in lines if line.startswith("started: ")]
    words = [part.split() for part in line.removeprefix("started: ").split(", ")]
    return [(name, float(seconds)) for name, seconds, _ in words]


def storm(bench: Bench, rounds: int) -> None:
    """Gaps between the deltas of one turn, alone and beside twenty creates."""
    bench.deploy(warm=0)
    session = bench.create()
    quiet = _gaps(bench, session, int(8 / TICK_SECONDS), lambda: None)
    took: list[float] = []
    beside = _gaps(bench, session, TICKS, lambda: took.extend(_creates(bench)))
    busy = beside[: int(max(took) / TICK_SECONDS)]
    print(f"{STORM} creates at once: {len(took)} finish, the last after {max(took):.1f} s")
    for name, gaps in (("alone", quiet), ("beside them", busy)):
        late = quantiles(gaps, n=100)[-1]
        print(f"  gap between deltas {name:12} {spread(gaps)}   p99 {late * 1e3:.1f}", end="")
        print(f"   worst {max(gaps) * 1e3:.1f} ms   of {len(gaps)}")


def _creates(bench: Bench) -> list[float]:
    begun = time.perf_counter()
    done: list[float] = []

    def create() -> None:
        answer = json.load(bench.another().post("/api/sessions", {"agent": "bench"}))
        assert answer["session"]["status"] == "active", answer
        done.append(time.perf_counter() - begun)

    threads = [threading.Thread(target=create) for _ in range(STORM)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def _gaps(bench: Bench, session: str, ticks: int, beside: Callable[[], object]) -> list[float]:
    """Starts `beside` with the second of the deltas, in a thread; waits for both."""
    body = {"content": f"SLOW: {ticks} {ticks * TICK_SECONDS}", "includePartialMessages": True}
    response = bench.another().post(f"/api/sessions/{session}/messages", body)
    thread = threading.Thread(target=beside)
    gaps: list[float] = []
    last = 0.0
    for line in response:
        if line != b"event: text_delta\n":
            continue
        now = time.perf_counter()
        if last:
            gaps.append(now - last)
        elif not thread.ident:
            thread.start()
        last = now
    thread.join()
    return gaps


PARTS = {"warm": (warm, 20), "cold": (cold, 8), "storm": (storm, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="claude-agent")
    parser.add_argument("parts", nargs="*", metavar="|".join(PARTS))
    args = parser.parse_args()
    with StubModel.in_thread() as model:
        for part in args.parts or PARTS:
            measure, rounds = PARTS[part]
            with daemon(args.engine, model.url) as (_, port, key):
                measure(Bench(port, key), rounds)


if __name__ == "__main__":
    main()
