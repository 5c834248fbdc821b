"""What resource groups cost, how fast they kill, and what the real CLI needs of its limits.

    .venv/bin/python bench/limits.py [groups|deaths|disk|cli|tools]

Without an argument, all of it. Root, or a delegated cgroup; see docs/decisions/0008-limits.md.
"""

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from ash.limits import Limits, ResourceGroup, ResourceGroups, open_resource_groups
from ash.limits.disk_usage import entry_sizes
from ash.limits.owned_cgroups import RECORD
from ash.testing import StubModel

BIN = Path(sys.executable).parent
ROUNDS = 100
# An odd number, which tells the session's group from those of warm sandboxes.
MARK = 201

OUTCASTS = """
for i in 1 2 3 4 5 6 7 8 9 10; do
  (setsid sh -c 'trap "" TERM HUP INT; while :; do sleep 1000; done' >/dev/null 2>&1 &)
done
sleep 0.2; echo; sleep 1000
"""
BOMB = "bomb() { bomb | bomb & }; bomb >/dev/null 2>&1; echo; sleep 1000"

# Much memory in several processes, each of which is smaller than the CLI.
PIECES = "for i in 1 2 3 4 5 6 7 8; do head -c 100M /dev/zero | tail -c 100M >/dev/null & done"


TOOLS = (
    "node -e 0",
    "npm --version",
    "npm exec --yes cowsay moo",
    "cargo --version",
    "java -version",
    "pip --version",
)


class Times:
    """Durations by name, shown as median and worst."""

    def __init__(self) -> None:
        self._by_name: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self._by_name.setdefault(name, []).append(time.perf_counter() - begun)

    def show(self) -> None:
        for name, took in self._by_name.items():
            middle, worst = statistics.median(took) * 1e3, max(took) * 1e3
            print(f"  {name:48} {middle:8.2f} ms   worst {worst:8.2f}")


async def measure_groups() -> None:
    """The group's part of a sandbox's life: made, entered, removed."""
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        with times("daemon: detect, sweep, make its groups"):
            scope = open_resource_groups(Path(folder))
            groups = await scope.__aenter__()
        print(f"{groups.name}; missing: {', '.join(groups.missing) or 'nothing'}")
        for _ in range(ROUNDS):
            await _one_life(groups, times)
        await scope.__aexit__(None, None, None)
    times.show()


async def _one_life(groups: ResourceGroups, times: Times) -> None:
    with times("start of /bin/true without a group"):
        await trio.run_process(["/bin/true"])
    scope = groups.open(Limits())
    with times("make a group"):
        group = await scope.__aenter__()
    with times("start of /bin/true in a group"):
        await trio.run_process([*group.prefix, "/bin/true"])
    with times("end of an empty group"):
        await scope.__aexit__(None, None, None)


async def measure_deaths() -> None:
    """From the end of the context until no process and no folder is left."""
    times = Times()
    with tempfile.TemporaryDirectory() as folder:
        async with open_resource_groups(Path(folder)) as groups:
            for _ in range(10):
                await _death("one process", "echo; sleep 1000", 256, groups, times)
                await _death("10 of them outcasts", OUTCASTS, 256, groups, times)
                await _death("a fork bomb of 256", BOMB, 256, groups, times)
    times.show()


async def _death(name: str, script: str, most: int, groups: ResourceGroups, times: Times) -> None:
    scope = groups.open(Limits(max_processes=most))
    group = await scope.__aenter__()
    process = await _run_first_line(group, script)
    if script is BOMB:
        await trio.to_thread.run_sync(_wait_full, group)
    with times(f"{name}: kill() alone, in the loop"):
        group.kill()
    with times(f"{name}: until all is dead and removed"):
        await scope.__aexit__(None, None, None)
    await process.wait()


def _wait_full(group: ResourceGroup) -> None:
    while not group.pids_hit():
        time.sleep(0.01)


async def _run_first_line(group: ResourceGroup, script: str) -> trio.Process:
    process = await trio.lowlevel.open_process(
        [*group.prefix, "/bin/bash", "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    await process.stdout.receive_some(1)
    await process.stdout.aclose()
    return process


async def measure_tools() -> None:
    """How many threads the kernel counts for tools; some need a package registry."""
    with tempfile.TemporaryDirectory() as folder:
        async with open_resource_groups(Path(folder)) as groups:
            for command in TOOLS:
                async with groups.open(Limits(max_processes=4096)) as group:
                    argv = [*group.prefix, "/bin/bash", "-c", f"cd {folder}; {command}"]
                    done = await trio.run_process(
                        argv, check=False, capture_stdout=True, capture_stderr=True
                    )
                    peak = _number(group, "pids.peak")
                how = "" if done.returncode == 0 else f" (exit code {done.returncode})"
                print(f"  {command:32} {peak} threads at most{how}")


def measure_disk() -> None:
    """How fast a tree is measured that is in the page cache."""
    with tempfile.TemporaryDirectory() as folder:
        for number in range(100):
            below = Path(folder, str(number))
            below.mkdir()
            for name in range(200):
                (below / str(name)).touch()
        begun = time.perf_counter()
        entries = len(list(entry_sizes([Path(folder)])))
        took = time.perf_counter() - begun
    print(f"  {entries} entries in {took * 1e3:.0f} ms, {took / entries * 1e6:.1f} µs each")


def measure_cli() -> None:
    """Threads, processes and memory of a session on the real CLI."""
    with (
        StubModel.in_thread() as model,
        tempfile.TemporaryDirectory(prefix="ash-bench-") as data,
        _daemon(data, model.url) as client,
    ):
        client.post("/api/agents", {"name": "bench", "systemPrompt": "Be brief."})
        _measure_session(client, Path(data))


def _measure_session(client: "Client", data: Path) -> None:
    limits = {"memoryMb": 512, "maxProcesses": MARK}
    session = client.post("/api/sessions", {"agent": "bench", "limits": limits})["session"]["id"]
    _show("engine booted", data)
    client.turn(session, "hello")
    time.sleep(3)
    _show("after a turn, idle", data)
    client.start_turn(session, "BASH: sleep 2")
    time.sleep(1)
    _show("in a Bash tool call", data)
    client.read_turn()
    _show("after it", data)
    for text in (f"BASH: {PIECES}; wait", "still there?"):
        said = client.turn(session, text)
        print(f"  {text[:40]!r} … → {said[-100:]!r}")
    _show("after a tool went over 512 MB", data)


def _show(when: str, data: Path) -> None:
    found = _Group(data)
    print(
        f"  {when:32} {found.number('pids.current'):3} threads (at most"
        f" {found.number('pids.peak')}) in {found.processes} processes,"
        f" {found.mb('memory.current', 'memory.usage_in_bytes'):4.0f} MB (at most"
        f" {found.mb('memory.peak', 'memory.max_usage_in_bytes'):.0f})"
    )


def _number(group: ResourceGroup, name: str) -> int:
    file = next(folder / name for folder in group.folders if (folder / name).exists())
    return int(file.read_text())


class _Group:
    """The kernel's own figures of the session's group, in either version."""

    def __init__(self, data: Path) -> None:
        own = [Path(line) for line in (data / RECORD).read_text().splitlines()]
        limits = [file for folder in own for file in folder.glob("*/pids.max")]
        name = next(f.parent.name for f in limits if f.read_text().strip() == str(MARK))
        self._folders = [folder / name for folder in own]

    @property
    def processes(self) -> int:
        return len((self._folders[0] / "cgroup.procs").read_text().split())

    def number(self, *names: str) -> int:
        for folder in self._folders:
            for name in names:
                if (folder / name).exists():
                    return int((folder / name).read_text())
        raise FileNotFoundError(names)

    def mb(self, *names: str) -> float:
        return self.number(*names) / 1024 / 1024


class Client:
    def __init__(self, port: int, key: str) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._response: http.client.HTTPResponse | None = None

    def post(self, path: str, body: object) -> dict[str, dict[str, str]]:
        self._http.request("POST", path, json.dumps(body), self._headers)
        answer: dict[str, dict[str, str]] = json.load(self._http.getresponse())
        return answer

    def start_turn(self, session: str, text: str) -> None:
        body = json.dumps({"content": text})
        self._http.request("POST", f"/api/sessions/{session}/messages", body, self._headers)
        self._response = self._http.getresponse()

    def read_turn(self) -> str:
        """The turn's result, or its error."""
        assert self._response is not None
        event, said = "", ""
        for line in self._response.read().decode().splitlines():
            kind, _, value = line.partition(": ")
            event = value if kind == "event" else event
            if kind == "data" and event in {"turn_complete", "error"}:
                said = json.loads(value).get("result") or value
        return said

    def turn(self, session: str, text: str) -> str:
        self.start_turn(session, text)
        return self.read_turn()


@contextmanager
def _daemon(data: str, model_url: str) -> Iterator[Client]:
    env = {**os.environ, "ANTHROPIC_BASE_URL": model_url, "ANTHROPIC_API_KEY": "bench"}
    argv = [str(BIN / "ashd"), "--port", "0", "--data-dir", data]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE) as ashd:
        try:
            assert ashd.stdout is not None
            port = int(ashd.stdout.readline().split()[2].rsplit(b":", 1)[1])
            yield Client(port, Path(data, "initial-api-key").read_text().strip())
        finally:
            ashd.terminate()


def main(*wanted: str) -> None:
    for name in wanted or ("groups", "deaths", "disk", "cli", "tools"):
        print(f"{name}:")
        match name:
            case "groups":
                trio.run(measure_groups)
            case "deaths":
                trio.run(measure_deaths)
            case "tools":
                trio.run(measure_tools)
            case "disk":
                measure_disk()
            case "cli":
                measure_cli()


main(*sys.argv[1:])
