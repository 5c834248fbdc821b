"""What the bridge costs: boot, first message and end of a turn, memory.

    .venv/bin/python bench/turn.py [claude-agent|claude-code|scripted] [turns]

The real CLI talks to the stub model on loopback, so everything but a model is measured. Figures
are medians of wall-clock seconds at the bridge's socket; run it on an idle machine.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from ash.protocol import EngineMessage
from ash.testing import StubModel
from tests.support.bridge import Bridge, start_bridge


def main(engine: str = "claude-agent", turns: str = "50") -> None:
    with tempfile.TemporaryDirectory() as folder, StubModel.in_thread() as model:
        begun = time.perf_counter()
        with start_bridge(engine, Path(folder), model.url) as bridge:
            ready = time.perf_counter()
            bridge.open()
            opened = time.perf_counter()
            print(f"{engine}: ready {ready - begun:.3f} s, opened {opened - ready:.3f} s later")
            report(bridge, int(turns))
            begun = time.perf_counter()
            bridge.turn("again", max_turns=9)
            print(f"turn in a new process that resumes: {time.perf_counter() - begun:.3f} s")


def report(bridge: Bridge, turns: int) -> None:
    first, done, memory = [], [], []
    for number in range(turns):
        times = measure(bridge, f"turn {number}")
        first.append(times[0])
        done.append(times[1])
        memory.append(resident(bridge))
    late = slice(turns // 2, None)
    print(f"{turns} turns: first message {ms(first)}, done {ms(done)}")
    print(f"the last half: first message {ms(first[late])}, done {ms(done[late])}")
    marks = [memory[at] for at in (0, turns // 4, turns // 2, -1)]
    print("bridge and CLI, MiB:", ", ".join(f"{own:.0f} + {cli:.0f}" for own, cli in marks))


def measure(bridge: Bridge, text: str) -> tuple[float, float]:
    """When the first message came, and when the turn was done."""
    begun = time.perf_counter()
    bridge.ask(text, partial=True)
    assert isinstance(bridge.receive(), EngineMessage)
    first = time.perf_counter() - begun
    assert bridge.finish().text == f"echo: {text}"
    return first, time.perf_counter() - begun


def ms(values: list[float]) -> str:
    late = sorted(values)[len(values) * 9 // 10]
    return f"{statistics.median(values) * 1e3:.1f} ms (90 % {late * 1e3:.1f})"


def resident(bridge: Bridge) -> tuple[float, float]:
    """Of the bridge, and of all that it has started."""
    own = bridge.process.pid
    pages = {pid: _pages(pid) for pid in _family(own)}
    return pages.pop(own) / 256, sum(pages.values()) / 256


def _family(root: int) -> list[int]:
    family = [root]
    for pid in family:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            family += map(int, children.read_text().split())
    return family


def _pages(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1])


main(*sys.argv[1:])
