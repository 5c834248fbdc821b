"""Sandboxes without processes, and a ledger without a store: for what the pool does with them."""

from collections import Counter
from contextlib import asynccontextmanager, suppress

import trio
from trio.testing import memory_stream_pair

from ash.egress import PUBLIC
from ash.errors import Unavailable
from ash.limits import Limits
from ash.protocol import (
    EngineExited,
    EngineMessage,
    Exec,
    ExecResult,
    Failed,
    Lines,
    Open,
    Opened,
    Query,
    Ready,
    TurnDone,
    decode_command,
    encode,
)
from ash.sandbox.link import Link
from ash.sandbox.sandbox_process import Runtime


class Upstream:
    """What the proxy says of the daemon's own credentials."""

    headers = ((b"x-api-key", b"the daemon's"),)


RUNTIME = Runtime(
    spawner=None,
    isolation=None,
    groups=None,
    disk=None,
    engine="fake",
    upstream=Upstream(),
    environment={},
)


class FakeSandboxProcess:
    """As `Sandbox`. The test is its bridge: `opened` are the settings it was given."""

    def __init__(self, maker, paths, env, *, limits, egress, log):
        self.paths = paths
        self.env = dict(env)
        self.limits = limits
        self.egress = egress
        self.log = log
        self.opened = []
        self.commands = []
        self.ended = trio.Event()
        self._maker = maker
        ours, self._theirs = memory_stream_pair()
        self.link = Link(ours)
        self.died = self.link.closed

    async def run(self, nursery):
        self.nursery = nursery
        nursery.start_soon(self.link.run)
        nursery.start_soon(self._serve)

    async def _serve(self):
        lines = Lines()
        if not self._maker.silent:
            await self.say(Ready())
        while chunk := await self._theirs.receive_some(65536):
            for line in lines.feed(bytes(chunk)):
                await self._answer(decode_command(line))

    async def _answer(self, command):
        maker = self._maker
        match command:
            case Open():
                self.opened.append(command)
                await maker.gate.wait()
                refusal = maker.refusal
                await self.say(Failed(refusal, command.id) if refusal else Opened(command.id))
            case Exec():
                self.commands.append(command.command)
                code, out, err, late = maker.results.get(command.command, (0, "", "", False))
                result = ExecResult(exit_code=code, stdout=out, stderr=err, timed_out=late)
                result.id = command.id
                await self.say(result)
            case Query():
                await maker.turns.wait()
                await self.say(
                    EngineMessage(b'{"type":"result","subtype":"success","result":"ok"}')
                )
                await self.say(TurnDone(command.session_id, id=command.id))

    async def say(self, event):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._theirs.send_all(encode(event))

    async def send(self, command):
        await self.link.send(command)

    async def lose_engine(self, why="The engine died (SIGKILL)"):
        await self.say(EngineExited(why))

    def die(self):
        """The bridge's end of the socket is closed, as when its process is killed."""
        self._theirs.send_stream.close()

    kill = die

    @property
    def dying(self):
        return self.died.is_set()

    def take_limit_report(self):
        return None

    async def exit_reason(self):
        return "The agent's process ended (signal 9)"


class Maker:
    """Stands in for `open_sandbox`. `made` are all, in the order they were opened.

    `gate` holds all boots and `turns` all turns while it is not set; `refusal` is what engines
    say to being opened, `results` what shell commands come to; `error` is raised in place of a
    sandbox; a `silent` bridge never gets ready.
    """

    def __init__(self):
        self.made = []
        self.gate, self.turns = trio.Event(), trio.Event()
        self.gate.set()
        self.turns.set()
        self.refusal = ""
        self.results = {}
        self.error = None
        self.silent = False

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
        process = FakeSandboxProcess(self, paths, env, limits=limits, egress=egress, log=log)
        self.made.append(process)
        try:
            async with trio.open_nursery() as nursery:
                await process.run(nursery)
                yield process
                nursery.cancel_scope.cancel()
        finally:
            process.ended.set()


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
