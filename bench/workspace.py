"""Turns in a workspace of 5,000 files and 500 MB, and in an empty one.

    .venv/bin/python bench/workspace.py [--engine scripted] [--turns 1000] [--files 5000] [--mb 500]

The floor is an empty session of a daemon that has no other, measured turn by turn in the same run.
Another daemon has the big session and a small one. The turns of both are measured; those of the
small one also while the big one is stopped, uploaded to an S3 on loopback, and resumed.
"""

import argparse
import json
import os
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack

from ash.testing import StubModel
from bench.session import Client, daemon
from tests.support.s3 import BUCKET, running_s3

# For an upload to be made, of which nobody tells.
UPLOAD_SECONDS = 10.0


class Session:
    """An active session of a daemon, and how long its turns took, in seconds."""

    def __init__(self, port: int, key: str) -> None:
        self._client = Client(port, key)
        self.id = json.load(self._client.post("/api/sessions", {"agent": "bench"}))["session"]["id"]
        self.took: list[float] = []
        self._client.turn(self.id, "warm up")

    def turn(self) -> None:
        self.took.append(self._client.turn(self.id, "hello")[1])

    def run(self, command: str) -> None:
        body = {"command": command, "timeout": 300_000}
        done = json.load(self._client.post(f"/api/sessions/{self.id}/exec", body))
        assert done["exitCode"] == 0, done

    def change(self, action: str) -> float:
        """Seconds until it is answered."""
        begun = time.perf_counter()
        answer = self._client.post(f"/api/sessions/{self.id}/{action}", {})
        text = answer.read().decode()
        assert answer.status == 200, text
        return time.perf_counter() - begun


def fill(files: int, mb: int) -> str:
    """A command that makes them, in folders of a hundred; what is in them can't be compressed."""
    return (
        f'python3 -c "import os\nfor n in range({files}):\n'
        f" os.makedirs(f'd{{n//100}}', exist_ok=True)\n"
        f" open(f'd{{n//100}}/f{{n}}', 'wb').write(os.urandom({mb * 1_000_000 // files}))\""
    )


def line(name: str, took: list[float], floor: list[float]) -> None:
    def p99(values: list[float]) -> float:
        return sorted(values)[int(len(values) * 0.99)]

    median, late = statistics.median(took), p99(took)
    print(
        f"{name:44} median {median * 1e3:6.1f} ms  {median / statistics.median(floor):4.2f} x floor"
        f"   p99 {late * 1e3:6.1f} ms  {late / p99(floor):4.2f} x floor"
    )


def during(work: Callable[[], None], turn: Callable[[], None]) -> None:
    """Turn after turn until the work is done beside it."""
    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        turn()
    thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="scripted")
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--mb", type=int, default=500)
    parser.add_argument("--restarts", type=int, default=3)
    args = parser.parse_args()
    with ExitStack() as stack:
        model = stack.enter_context(StubModel.in_thread())
        s3 = stack.enter_context(running_s3())
        s3.make_bucket()
        os.environ.update(s3.env)
        ports = [stack.enter_context(daemon(args.engine, model.url))[1:]]
        os.environ["ASH_SNAPSHOT_URL"] = f"s3://{BUCKET}/bench"
        ports.append(stack.enter_context(daemon(args.engine, model.url))[1:])
        for port, key in ports:
            Client(port, key).post("/api/agents", {"name": "bench", "systemPrompt": "Hi."}).read()
        floor, big, other = Session(*ports[0]), Session(*ports[1]), Session(*ports[1])
        big.run(fill(args.files, args.mb))
        # What the disk still has to write of it is not what a turn is to wait for.
        os.sync()
        for _ in range(args.turns):
            for session in (floor, big, other):
                session.turn()
        print(f"{args.turns} turns on {args.engine}; {args.files} files, {args.mb} MB")
        line("empty, a daemon with nothing else", floor.took, floor.took)
        line("in the big workspace", big.took, floor.took)
        line("empty, beside the big one", other.took, floor.took)
        other.took.clear()
        stops, resumes = [], []

        def restart() -> None:
            for _ in range(args.restarts):
                big.run("date >> changed")
                stops.append(big.change("stop"))
                time.sleep(UPLOAD_SECONDS)
                resumes.append(big.change("resume"))

        during(restart, other.turn)
        line("… while that is stopped, uploaded, resumed", other.took, floor.took)
        print(f"stop {statistics.median(stops) * 1e3:.0f} ms", end=", ")
        print(f"resume {statistics.median(resumes) * 1e3:.0f} ms at the median")


if __name__ == "__main__":
    main()
