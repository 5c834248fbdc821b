"""A session that wants nothing but its answers, while somebody else does harm.

The daemon runs in the loop of the test, which measures its steps. The victim talks to it from a
thread, so that the client takes nothing of the loop's time.
"""

import json
import os
import socket
import sys
import threading
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import trio

from tests.support.daemon import KEY
from tests.support.loop_steps import loop_steps

MB = 1024 * 1024

# In ms of CPU time. What must hold is 20; the rest is for slow machines.
LONGEST_STEP = 100

# In seconds. What must hold is 0.1. A busy machine tells little: this finds what stands still.
LONGEST_TURN = 5.0


class Figures(NamedTuple):
    """What the victim and the machine saw of the harm. Sizes are in bytes, times in s and ms."""

    turns: int
    longest_turn: float
    longest_step: float
    task: str
    memory: int
    database: int

    def check(self, memory=450 * MB, database=30 * MB):
        sys.stdout.write(f"{self}\n")
        assert self.turns > 0
        assert self.longest_turn < LONGEST_TURN, self
        assert self.longest_step < LONGEST_STEP, self
        assert self.memory < memory, self
        assert self.database < database, self


class Victim:
    """`beside` runs its turns while the block does harm; `figures` are what they saw."""

    def __init__(self, daemon, session, data_dir):
        self.figures = None
        self._url = daemon.us.base_url
        self._data_dir = data_dir
        body = json.dumps({"content": "hello"}).encode()
        self._request = (
            f"POST /api/sessions/{session}/messages HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    @asynccontextmanager
    async def beside(self):
        stop, times = threading.Event(), []
        before, database = _peak(), self._database()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, self._talk, stop, times)
            with loop_steps() as steps:
                try:
                    yield
                finally:
                    stop.set()
        self.figures = Figures(
            len(times),
            max(times),
            steps.longest,
            steps.task,
            max(0, _peak() - before),
            self._database() - database,
        )

    def _talk(self, stop, times):
        with socket.create_connection((self._url.host, self._url.port), timeout=60) as connection:
            while not (stop.is_set() and times):
                begun = time.monotonic()
                connection.sendall(self._request)
                answer = b""
                while not answer.endswith(b"0\r\n\r\n"):
                    answer += connection.recv(65536)
                assert b'"reason":"completed"' in answer, answer
                times.append(time.monotonic() - begun)
                stop.wait(0.02)

    def _database(self):
        sizes = 0
        for name in ("ash.db", "ash.db-wal"):
            with suppress(FileNotFoundError):
                sizes += (self._data_dir / name).stat().st_size
        return sizes


def _peak():
    """What this process takes of the memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
