"""Tries changes one after the other: reads jobs as JSON lines, answers each with one.

The third-party packages are imported once; each run of the tests is a fork that has them.
Started by mutate.py, in a copy of the tree.
"""

import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h11
import httpx
import hypercorn
import hypothesis
import msgspec
import pytest
import quart_trio
import structlog
import trio

PRELOADED = (h11, httpx, hypercorn, hypothesis, msgspec, pytest, quart_trio, structlog, trio)
# A mutant that makes lists without end must not take the machine along.
MEMORY = 3 * 1024**3
# Cases of one test that are run for each change.
CASES = 30
# A test that takes longer than any that was chosen hangs.
TEST_SECONDS = 20


class Plugin:
    """Runs the chosen tests alone and notes how long each has taken."""

    def __init__(self, chosen: list[str] | None) -> None:
        self._rank = {name: number for number, name in enumerate(chosen or [])}
        self._all = chosen is None
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        if self._all:
            items[:] = list(_few_of_each(items))
        else:
            chosen = [item for item in items if item.nodeid in self._rank]
            items[:] = sorted(chosen, key=lambda item: self._rank[item.nodeid])

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed:
            self.failed.append(report.nodeid)


def _few_of_each(items: list[Any]) -> Iterator[Any]:
    """Of the hundreds of seeds that a test has some will do."""
    seen: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        seen[name] += 1
        if seen[name] <= CASES:
            yield item


def run_tests(files: list[str], chosen: list[str] | None, answer: Path) -> int:
    plugin = Plugin(chosen)
    code = pytest.main(
        [
            "-q",
            *(["-x"] if chosen is not None else []),
            "-pno:randomly",
            # Short, as the path of a socket has to be.
            f"--basetemp={Path('../t').resolve()}",
            "-Wignore::pytest.PytestAssertRewriteWarning",
            "-mnot slow and not crash and not cli",
            f"-ofaulthandler_timeout={TEST_SECONDS if chosen is not None else 120}",
            *files,
        ],
        plugins=[plugin],
    )
    answer.write_text(json.dumps({"seconds": plugin.seconds, "failed": plugin.failed}))
    return int(code)


def forked(job: dict[str, Any]) -> dict[str, Any]:
    answer = Path("answer.json").absolute()
    answer.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        code = 99
        try:
            code = run_tests(job["files"], job["chosen"], answer)
        except BaseException:  # noqa: BLE001 - nothing of a fork may go on as its parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            sys.stdout.flush()
            os._exit(code)
    timed_out = not ended(pid, job["limit"])
    # Whatever the tests have started and the mutant has not ended.
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    if timed_out:
        os.waitpid(pid, 0)
    told = json.loads(answer.read_text()) if answer.exists() else {"seconds": {}, "failed": []}
    return {**told, "code": -9 if timed_out else exit_codes.pop(pid)}


exit_codes: dict[int, int] = {}


def ended(pid: int, limit: float) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            exit_codes[pid] = os.waitstatus_to_exitcode(status)
            return True
        time.sleep(0.01)
    return False


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        path = job.get("path")
        original = Path(path).read_bytes() if path else b""
        try:
            if path:
                Path(path).write_text(job["source"])
            told = forked(job)
        finally:
            if path:
                Path(path).write_bytes(original)
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
