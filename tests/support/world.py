"""The real sessions, pool and store on a clock that jumps, above bridges without processes.

Nothing here waits for a thread: the clock would run ahead of it. How long each thing takes is
drawn from the seed, and so is the order in which tasks run.
"""

from collections import Counter
from contextlib import asynccontextmanager, suppress
from math import inf
from random import Random

import trio
from msgspec import Raw
from trio.testing import memory_stream_pair

from ash.egress import PUBLIC
from ash.limits import Limits
from ash.pool.pool import Capacity, Pool
from ash.protocol import (
    EngineMessage,
    Exec,
    ExecResult,
    Failed,
    Interrupt,
    Lines,
    Open,
    Opened,
    Query,
    Ready,
    Resume,
    Shutdown,
    TurnDone,
    decode_command,
    encode,
)
from ash.sandbox.link import Link
from ash.sandbox.sandbox import SandboxDependencies
from ash.sandbox.sandbox_process import Runtime
from ash.sessions.dependencies import SessionDependencies, StoredSandboxRecords
from ash.sessions.service import Sessions
from ash.sessions.session_spec import ServerRules
from ash.store import Store
from ash.store.sqlite import SqliteDriver
from ash.workspaces.workspaces import Workspaces

OWNER = "standalone"
LIMITS = Limits(memory_mb=64, cpu_percent=50, disk_mb=16, max_processes=30)


class FixedClock:
    def now(self):
        return 1e9


class Upstream:
    headers = ()


class Delays:
    """Most things are quick, some are slow, and some take longer than anyone has patience for."""

    def __init__(self, random):
        self.random = random

    async def wait(self, longest=1.0):
        share = self.random.choice((0, 0, 0, 0.001, 0.01, 0.1, 1))
        await trio.sleep(share * longest)


class Calm(Delays):
    """Everything comes at once; a turn lasts until it is interrupted, 30 seconds at most."""

    def __init__(self):
        super().__init__(Random(0))
        self.random.choice = max
        self.random.random = lambda: 1.0

    async def wait(self, longest=1.0):
        await trio.lowlevel.checkpoint()


class Driver(SqliteDriver):
    """The SQLite driver without its threads."""

    def __init__(self, path, delays):
        super().__init__(path)
        self._delays = delays
        self._send, self._jobs = trio.open_memory_channel(inf)
        self.write, self.run = self._write, self._run

    async def fetch(self, query, params, build):
        await self._delays.wait(0.1)
        return self._fetch(query, params, build)

    async def _write(self, unit):
        await trio.lowlevel.checkpoint_if_cancelled()
        done, outcome = trio.Event(), []
        self._send.send_nowait((unit, done, outcome))
        await done.wait()
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        return outcome[0]

    async def _run(self):
        try:
            async for unit, done, outcome in self._jobs:
                await self._delays.wait(0.1)
                outcome.append(self._commit([unit])[0])
                done.set()
        finally:
            self._writer.closed = True
            self._close()


class Bridge:
    """As `Sandbox`, with the bridge's side in this process."""

    def __init__(self, delays, gate, *, deaths):
        ours, self._theirs = memory_stream_pair()
        self.link = Link(ours)
        self.died = self.link.closed
        self.deaths = deaths
        self.gate = gate
        self._sending = trio.StrictFIFOLock()
        self._delays = delays
        self.commands = []
        self.limit_report = None
        self.mute = False
        self._killed = False
        self.stubborn = delays.random.random() < 0.1
        self._interrupted = trio.Event()

    async def serve(self, nursery):
        self.nursery = nursery
        nursery.start_soon(self.link.run)
        nursery.start_soon(self._read)

    async def _read(self):
        lines = Lines()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                await self.say(Ready())
                while chunk := await self._theirs.receive_some(65536):
                    for line in lines.feed(bytes(chunk)):
                        nursery.start_soon(self._answer, decode_command(line))
                nursery.cancel_scope.cancel()

    async def _answer(self, command):
        self.commands.append(command)
        match command:
            case Open() | Resume():
                await self._delays.wait(3.0)
                await self.gate.wait()
                doomed = self.deaths and self._delays.random.random() < 0.1
                await self.say(Failed("no", command.id) if doomed else Opened(command.id))
            case Exec():
                await self._delays.wait(3.0)
                await self.say(ExecResult(exit_code=0, stdout="", stderr="", id=command.id))
            case Query():
                await self._turn(command)
            case Interrupt() if not self.stubborn:
                self._interrupted.set()
            case Shutdown() if not self.stubborn:
                self.kill()

    async def _turn(self, query):
        self._interrupted = interrupted = trio.Event()
        how = "error_during_execution"
        with trio.move_on_after(self._delays.random.choice((0, 0.1, 1, 30))) as whole:
            await interrupted.wait()
        if whole.cancelled_caught:
            how = "success"
        if self.mute:
            return
        await self.say(
            EngineMessage(Raw(b'{"type":"assistant","uuid":"u","message":{"content":[]}}'))
        )
        await self._delays.wait(0.1)
        await self.say_result(how)

    async def say_result(self, how="success"):
        result = b'{"type":"result","subtype":"%b","result":""}' % how.encode()
        await self.say(EngineMessage(Raw(result)), TurnDone("the session"))

    async def say(self, *events):
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._sending:
                await self._theirs.send_all(b"".join(map(encode, events)))

    async def send(self, command):
        await self.link.send(command)

    def kill(self):
        self._killed = True
        self._theirs.send_stream.close()

    @property
    def dying(self):
        return self._killed or self.died.is_set()

    def kill_later(self):
        """It is dying, and goes on for the moment."""
        self._killed = True

    def take_limit_report(self):
        report, self.limit_report = self.limit_report, None
        return report

    async def exit_reason(self):
        return self.take_limit_report() or "The agent's process ended (signal 9)"


class World:
    """`bridges` are those that live, by the id of their session; `twice` who had two at a time.

    No engine is up before `gate` is set.
    """

    def __init__(self, store, delays, data_dir, nursery, *, idle_timeout, silence_timeout):
        self.store = store
        self.data_dir = data_dir
        self.bridges = {}
        self.twice = []
        self.deaths = False
        self.gate = trio.Event()
        self.gate.set()
        self._delays = delays
        runtime = Runtime(
            spawner=None,
            isolation=None,
            groups=None,
            disk=None,
            engine="fake",
            upstream=Upstream(),
            environment={},
        )
        sandbox_dependencies = SandboxDependencies(runtime, Workspaces(data_dir), 60, 60, self.open)
        records = StoredSandboxRecords(store, OWNER, FixedClock())
        self.pool = Pool(sandbox_dependencies, records, nursery, Capacity(3, 1, 2))
        rules = ServerRules(
            permission_mode="bypassPermissions",
            idle_timeout=idle_timeout,
            auto_resume=False,
            pre_warm=0,
            limits=LIMITS,
            network=PUBLIC,
        )
        dependencies = SessionDependencies(
            store=store,
            pool=self.pool,
            clock=FixedClock(),
            owner=OWNER,
            rules=rules,
            silence_timeout=silence_timeout,
        )
        self.sessions = Sessions(dependencies, nursery)

    @asynccontextmanager
    async def open(self, runtime, paths, env, *, limits, egress, log):
        await self._delays.wait(0.5)
        sandbox_id = paths.workspace.parent.name
        if sandbox_id in self.bridges:
            self.twice.append(sandbox_id)
        bridge = self.bridges[sandbox_id] = Bridge(self._delays, self.gate, deaths=self.deaths)
        try:
            async with trio.open_nursery() as nursery:
                await bridge.serve(nursery)
                yield bridge
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._delays.wait(0.5)
            del self.bridges[sandbox_id]

    async def deploy(self, name):
        source = self.data_dir / "agent"
        source.mkdir()
        (source / "CLAUDE.md").write_text("be kind")
        await self.store.deploy_agent(
            "default", name, path=str(source), source=str(source), now="2026-01-02T03:04:05.678Z"
        )

    @property
    def tally(self):
        return Counter({state: count for state, count in self.pool._counts.items() if count})


@asynccontextmanager
async def opened(seed, data_dir, monkeypatch, *, idle_timeout=0.0, silence_timeout=0.0):
    """A world until the block is left; without a seed it is a calm one."""
    delays = Calm() if seed is None else Delays(Random(seed))
    trio._core._run._r.seed(seed or 0)

    async def inline(function, *args, **options):
        await trio.lowlevel.checkpoint_if_cancelled()
        with trio.CancelScope(shield=True):
            await delays.wait(0.1)
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    driver = Driver(data_dir / "ash.db", delays)
    async with trio.open_nursery() as store_nursery:
        store_nursery.start_soon(driver.run)
        async with trio.open_nursery() as nursery:
            store = Store(driver)
            timeouts = {"idle_timeout": idle_timeout, "silence_timeout": silence_timeout}
            world = World(store, delays, data_dir, nursery, **timeouts)
            nursery.start_soon(world.pool.run)
            nursery.start_soon(world.sessions.sweep)
            yield world
            nursery.cancel_scope.cancel()
        store_nursery.cancel_scope.cancel()
