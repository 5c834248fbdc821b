"""Sandboxes without processes, and records without a store: for what the pool does with them."""

from collections import Counter
from contextlib import asynccontextmanager

import trio

from ash.egress import PUBLIC
from ash.errors import Unavailable
from ash.limits import Limits
from ash.protocol import Exec, Open
from tests.support.sandbox import FakeAgent, FakeSandboxProcess, serving


class Maker(FakeAgent):
    """Stands in for `open_sandbox_process`; each of its sandboxes has it for its agent.

    `made` are all, in the order they were opened. `error` is raised in place of a sandbox.
    """

    def __init__(self):
        super().__init__()
        self.made = []
        self.error = None

    def hold(self):
        self.gate = trio.Event()

    def let_go(self):
        self.gate.set()

    @property
    def last(self):
        return self.made[-1]

    @asynccontextmanager
    async def open(self, runtime, paths, env, *, limits, egress, log):
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        process = MadeSandboxProcess(self, paths, env, limits, egress)
        self.made.append(process)
        try:
            async with serving(process):
                yield process
        finally:
            process.ended.set()


class MadeSandboxProcess(FakeSandboxProcess):
    """Remembers what it was made with."""

    def __init__(self, maker, paths, env, limits, egress):
        super().__init__(maker)
        self.paths = paths
        self.env = dict(env)
        self.limits = limits
        self.egress = egress
        self.ended = trio.Event()

    @property
    def opened(self):
        """The settings that its engine was given, in their order."""
        return [command for command in self.commands if isinstance(command, Open)]

    @property
    def shell_commands(self):
        return [command.command for command in self.commands if isinstance(command, Exec)]


class MemorySandboxRecords:
    """`rows` are what a store would have: live or cold. `failing` are the calls that fail."""

    def __init__(self, cold=0):
        self.rows = {f"earlier-{number}": "cold" for number in range(cold)}
        self.failing = set()
        self.added = 0

    async def sandbox_added(self, sandbox_id, key):
        await self._called("added")
        was_cold = self.rows.get(sandbox_id) == "cold"
        self.rows[sandbox_id] = "live"
        self.added += 1
        return was_cold

    async def sandbox_cold(self, sandbox_id):
        await self._called("cold")
        self.rows[sandbox_id] = "cold"

    async def sandbox_removed(self, sandbox_id):
        await self._called("removed")
        del self.rows[sandbox_id]

    async def count_cold(self):
        return Counter(self.rows.values())["cold"]

    async def _called(self, name):
        await trio.lowlevel.checkpoint()
        if name in self.failing:
            raise Unavailable("The database is busy")


SMALL = Limits(memory_mb=64, cpu_percent=50, disk_mb=16, max_processes=30)
NETWORK = PUBLIC
