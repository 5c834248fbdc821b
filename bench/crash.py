"""Kills the daemon, bridges and their children at random moments of a load, then checks the rest.

    .venv/bin/python bench/crash.py [--kills 200] [--sessions 3] [--seed 1] [--engine claude-agent]

Prints what was killed and how the turns ended, or stops at the first broken promise.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from ash.testing import StubModel
from tests.support.crash import Crash


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", default="scripted")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ash-crash-") as folder, StubModel.in_thread() as model:
        options = ["--engine", args.engine, "--anthropic-base-url", model.url]
        crash = Crash(Path(folder), args.seed, sessions=args.sessions, options=options)
        begun = time.perf_counter()
        trio.run(partial(crash.run, args.kills))
        took = time.perf_counter() - begun
    print(f"{args.kills} kills in {took:.0f} s: nothing lost")
    for what, count in sorted(crash.counts.items()):
        print(f"  killed          {what:12} {count}")
    for reason, count in sorted(crash.turns.items()):
        print(f"  turns that were {reason:12} {count}")


if __name__ == "__main__":
    main()
