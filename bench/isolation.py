"""How long isolation takes: `.venv/bin/python bench/isolation.py`; some of it only as root."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from ash.isolation import detect, root, seccomp
from ash.isolation.bubblewrap import Bubblewrap
from ash.isolation.uids import Uids, give
from ash.workspaces.workspaces import HostPaths

ROUNDS = 50
FILES = 20_000

# A call that the filter lets through without a look at its arguments, and one that it looks at.
CALLS = """
import ctypes, socket, time
libc = ctypes.CDLL(None)
def timed(call, *words):
    begun = time.perf_counter()
    for _ in range(200_000): call(*words)
    return (time.perf_counter() - begun) * 5000
print(*(f"{timed(call, *words):.0f}" for call, *words in ((libc.getppid,), (libc.ioctl, -1, 0))))
"""


def main() -> None:
    with TemporaryDirectory() as folder:
        paths = HostPaths(*(Path(folder, name) for name in ("workspace", "home", "sockets")))
        for part in (paths.workspace, paths.home, paths.sockets):
            part.mkdir()
        report("detect", lambda: detect("strict"), rounds=5)
        report("/usr/bin/true", lambda: subprocess.run(["/usr/bin/true"], check=True))
        for name, isolation in isolations().items():
            with settled(isolation, paths) as there:
                report(f"the same, {name}", partial(run, isolation, there, ["/usr/bin/true"]))
                calls = run(isolation, there, [sys.executable, "-c", CALLS])
                print(f"{'- ns a call: plain, with an argument':45} {calls}")
        for number in range(FILES):
            (paths.home / str(number)).touch()
        users = iter(range(2_000_100_000, 2_000_200_000))
        report(f"give {FILES} files away", lambda: give(paths.home, next(users)), rounds=5)
        last = next(users) - 1
        report("- that are the user's already", lambda: give(paths.home, last))


def isolations() -> dict[str, Bubblewrap]:
    def made(*, own: bool, filtered: bool) -> Bubblewrap:
        return Bubblewrap(
            "/usr/bin/bwrap",
            root.make([], []),
            users=Uids() if own else None,
            seccomp=seccomp.build() if filtered else None,
        )

    return {
        "bubblewrap": made(own=False, filtered=False),
        "and filtered": made(own=False, filtered=True),
        "and a user of its own": made(own=os.geteuid() == 0, filtered=True),
    }


@contextmanager
def settled(isolation: Bubblewrap, paths: HostPaths) -> Iterator[HostPaths]:
    there = isolation.settle(paths)
    try:
        yield there
    finally:
        isolation.leave(there)


def run(isolation: Bubblewrap, paths: HostPaths, argv: list[str]) -> str:
    wrapped = isolation.wrap(argv, paths, {})
    try:
        return subprocess.check_output(
            wrapped.argv, env=wrapped.env, pass_fds=wrapped.fds, text=True
        ).strip()
    finally:
        for fd in wrapped.fds:
            os.close(fd)


def report(name: str, act: Callable[[], object], rounds: int = ROUNDS) -> None:
    times = sorted(timed(act) for _ in range(rounds))
    worst = times[int(len(times) * 0.95)] if rounds >= ROUNDS else times[-1]
    print(f"{name:45} {statistics.median(times):8.1f} ms   p95 {worst:8.1f} ms")


def timed(act: Callable[[], object]) -> float:
    begun = time.perf_counter()
    act()
    return (time.perf_counter() - begun) * 1000


main()
