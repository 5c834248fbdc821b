"""Ends sandboxes and kills the daemon over and over, and prints what is left of them.

    .venv/bin/python bench/death.py [--cycles 300] [--kills 50] [--engine scripted] [--seed 1]

A cycle creates a session, runs a turn that leaves something behind, and ends the session. A kill
is a SIGKILL to a daemon that starts, or that works for several clients. The exit code is 1 if
anything is left: processes (zombies too), mounts, cgroups, sockets, descriptors, folders.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import h11
import httpx
import trio

from ash.testing import StubModel
from tests.support.crash import Ashd
from tests.support.daemon import KEY, Client
from tests.support.death import (
    TURNS,
    Left,
    Surroundings,
    descriptors,
    processes_end,
    take_in_orphans,
)
from tests.support.processes import descendants

CUT_OFF = (h11.RemoteProtocolError, httpx.TransportError, OSError, AssertionError)

# Sessions at a time; a warm sandbox is always in the making too.
WORKERS = 3


class Run:
    def __init__(self, data_dir: Path, seed: int, options: list[str]) -> None:
        self.surroundings = Surroundings(data_dir)
        self.choose = random.Random(seed)
        self.ashd = Ashd(data_dir, "--pre-warm-count", "1", *options)
        self.turns: Counter[str] = Counter()
        self.faults: list[str] = []
        self.lasted: list[float] = []

    def kinds(self) -> Iterator[str]:
        """Each in turn, in an order of chance."""
        while True:
            yield from self.choose.sample(sorted(TURNS), len(TURNS))

    def expect_nothing(self, when: str, left: Left) -> None:
        if left:
            self.faults.append(f"{when}: {left}")

    async def cycles(self, count: int) -> None:
        """All in one life of the daemon, which is to be as it was before."""
        await self.ashd.start()
        pid = self.ashd.process.pid
        async with Client(self.ashd.url, KEY) as us:
            await us.deploy("mortal")
            kinds = self.kinds()
            # Whatever is opened once, on first use, is there.
            await self._share(us, [next(kinds) for _ in TURNS])
            await _rested(us)
            before = descriptors(pid)
            begun = time.perf_counter()
            await self._share(us, [next(kinds) for _ in range(count)])
            took = time.perf_counter() - begun
            await _rested(us)
            after = descriptors(pid)
            print(f"{count} cycles, {WORKERS} at a time: {took / max(count, 1):.3f} s each")
            print(f"  descriptors before {sum(before.values())}, after {sum(after.values())}")
            if after != before:
                self.faults.append(f"descriptors: {before}, then {after}")
            self._check_alive(pid)
        await self.ashd.stop()
        await processes_end()
        self.expect_nothing("after the cycles", self.surroundings.left())

    def _check_alive(self, pid: int) -> None:
        """One warm sandbox: the only one with processes, a group and a folder."""
        names = [name for child in descendants(pid) if (name := _bridge_of(child))]
        folders = len(list(self.surroundings.data_dir.glob("sandboxes/*")))
        if (len(names), self.surroundings.groups(), folders) != (1, 1, 1):
            text = f"{len(names)} bridges, {self.surroundings.groups()} groups, {folders} folders"
            self.faults.append(f"while it lives with one warm sandbox: {text}")
        zombies = [child for child in descendants(pid) if _state(child) == "Z"]
        if zombies:
            self.faults.append(f"zombies of the daemon: {zombies}")

    async def _share(self, us: Client, kinds: list[str]) -> None:
        """Sessions side by side, each with one kind of turn."""
        waiting = list(kinds)
        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(self._work, us, waiting)

    async def _work(self, us: Client, waiting: list[str]) -> None:
        while waiting:
            await self._cycle(us, waiting.pop())

    async def _cycle(self, us: Client, kind: str) -> None:
        self.turns[kind] += 1
        session = await us.create("mortal")
        async with us.sending(session, TURNS[kind], includePartialMessages=True) as stream:
            async for frame in stream:
                if kind == "cut short" and frame.event == "text_delta":
                    break
        (await us.delete(f"/api/sessions/{session}")).raise_for_status()

    async def kills(self, count: int) -> None:
        for number in range(count):
            starting = number % 5 == 4
            await (self._kill_starting() if starting else self._kill_working())
            self.lasted.append(await processes_end())
            left = self.surroundings.left()
            if left.processes:
                self.faults.append(f"kill {number}: {left.processes}")
        # What a dead daemon can't clear away the next one does.
        await self.ashd.start()
        async with Client(self.ashd.url, KEY) as us:
            await self._check_sessions(us)
        await self.ashd.stop()
        await processes_end()
        self.expect_nothing("after the kills", self.surroundings.left())
        if self.lasted:
            worst = max(self.lasted)
            print(
                f"{count} kills: all processes gone after {median(self.lasted) * 1e3:.0f} ms",
                end="",
            )
            print(f" at the median, {worst * 1e3:.0f} ms at worst")

    async def _kill_starting(self) -> None:
        self.ashd.spawn()
        await trio.sleep(self.choose.uniform(0, 1))
        await self._kill()

    async def _kill_working(self) -> None:
        await self.ashd.start()
        async with Client(self.ashd.url, KEY) as us, trio.open_nursery() as nursery:
            with suppress(AssertionError):
                await us.deploy("mortal")
            for _ in range(WORKERS):
                nursery.start_soon(self._work_until_cut, us)
            await trio.sleep(self.choose.uniform(0.05, 1.5))
            await self._kill()
            nursery.cancel_scope.cancel()

    async def _kill(self) -> None:
        self.ashd.process.kill()
        await trio.to_thread.run_sync(self.ashd.process.wait)
        self.ashd.process.stdout.close()

    async def _work_until_cut(self, us: Client) -> None:
        with suppress(*CUT_OFF):
            for kind in self.kinds():
                await self._cycle(us, kind)

    async def _check_sessions(self, us: Client) -> None:
        for status in ("starting", "active"):
            total = (await us.get(f"/api/sessions?status={status}")).json()["total"]
            if total:
                self.faults.append(f"{total} sessions claim to be {status}")


async def _rested(us: Client) -> None:
    """Until one sandbox is warm and nothing else goes on; connections that idle are closed."""
    with trio.fail_after(30):
        while True:
            stats = (await us.get("/health")).json()["pool"]
            if stats["warm"] == 1 == stats["total"] - stats["cold"]:
                break
            await trio.sleep(0.05)
    await trio.sleep(1)


def _bridge_of(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return "bridge" if words[-3:-1] == [b"-m", b"bridge"] and b"--args" not in words else ""
    return ""


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


@contextmanager
def engine_options(engine: str) -> Iterator[list[str]]:
    if engine == "scripted":
        yield ["--engine", engine]
        return
    with StubModel.in_thread() as model:
        yield ["--engine", engine, "--anthropic-base-url", model.url, "--anthropic-api-key", "k"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--engine", default="scripted")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    take_in_orphans()
    with (
        tempfile.TemporaryDirectory(prefix="ash-death-") as folder,
        engine_options(args.engine) as options,
    ):
        run = Run(Path(folder), args.seed, options)
        if args.cycles:
            trio.run(run.cycles, args.cycles)
        if args.kills:
            trio.run(run.kills, args.kills)
    print("turns:", ", ".join(f"{count} {kind}" for kind, count in sorted(run.turns.items())))
    for fault in run.faults:
        print(f"LEFT {fault}")
    print("nothing is left" if not run.faults else f"{len(run.faults)} faults")
    sys.exit(bool(run.faults))


if __name__ == "__main__":
    main()
