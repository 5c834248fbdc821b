"""The CPU that sandboxes cost while they do nothing: the daemon's, and that of their processes.

    .venv/bin/python bench/idle.py [--count 300] [--seconds 60] [--engine claude-agent]

All figures are percentages of one core. The floor is the same daemon in the same run, before it
has a sandbox. 300 scripted sandboxes should cost 2 % at most. On 2 busy cores it was 1.5 %, and
0.4 % for 40, of which the floor was 0.06 %; 40 took 9.4 % when all were measured.
"""

import argparse
import http.client
import json
import time
from contextlib import suppress

from ash.testing import StubModel
from bench.session import Client, daemon, tree

# After the last start, for the looks at the disk of sandboxes that have just become idle.
SETTLE_SECONDS = 15


def cpu_seconds(pid: int) -> float:
    """The CPU time of all threads that the process has or had."""
    # The number of the clock that counts the CPU time of another process, see
    # clock_getcpuclockid(3).
    with suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


class Spent:
    """Counts the CPU time of the daemon and of the processes below it from now on."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._begun_at = time.perf_counter()
        self._begun = {each: cpu_seconds(each) for each in tree(pid)}

    def shares(self) -> tuple[float, float]:
        """The daemon's share of one core, and that of all processes below it."""
        took = time.perf_counter() - self._begun_at
        spent = {each: cpu_seconds(each) - self._begun.get(each, 0) for each in tree(self._pid)}
        own = spent.pop(self._pid)
        return own / took, sum(spent.values()) / took


def idle(pid: int, seconds: float) -> tuple[float, float]:
    spent = Spent(pid)
    time.sleep(seconds)
    return spent.shares()


def create(client: Client) -> None:
    answer: http.client.HTTPResponse = client.post("/api/sessions", {"agent": "bench"})
    body = json.load(answer)
    assert answer.status == 201, body


def line(name: str, daemon_share: float, inside_share: float) -> None:
    both = daemon_share + inside_share
    print(
        f"{name:24} {both:7.2%} of a core   daemon {daemon_share:7.2%}   inside {inside_share:7.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="scripted")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=30)
    args = parser.parse_args()
    most = {"ASH_MAX_SANDBOXES": str(args.count + 1)}
    with StubModel.in_thread() as model, daemon(args.engine, model.url, most) as (pid, port, key):
        client = Client(port, key)
        client.post("/api/agents", {"name": "bench", "systemPrompt": "Be brief."}).read()
        time.sleep(2)
        floor = idle(pid, args.seconds)
        line("none (floor)", *floor)
        for _ in range(args.count):
            create(client)
        time.sleep(SETTLE_SECONDS)
        spent = idle(pid, args.seconds)
        line(f"{args.count} idle", *spent)
        print(f"one more costs           {(sum(spent) - sum(floor)) / args.count:7.3%} of a core")


if __name__ == "__main__":
    main()
