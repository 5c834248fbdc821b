"""The real sessions, pool and store on a clock that jumps, above bridges without processes.

Nothing here waits for a thread: the clock would run ahead of it. How long each thing takes is
drawn from the seed, and so is the order in which tasks run.
"""

from collections import Counter
from contextlib import asynccontextmanager
from math import inf
from random import Random

import trio
from msgspec import Raw

from ash.egress import PUBLIC
from ash.limits import Limits
from ash.pool.pool import Capacity, Pool
from ash.protocol import (
    BackgroundTasks,
    EngineMessage,
    Interrupt,
    PromptRefused,
    Query,
    Shutdown,
)
from ash.sandbox.sandbox import SandboxDependencies
from ash.sessions.dependencies import SessionDependencies, StoredSandboxRecords
from ash.sessions.service import Sessions
from ash.sessions.session_spec import ServerRules
from ash.store import Store
from ash.store.sqlite import SqliteDriver
from ash.workspaces.workspaces import Workspaces
from tests.support.sandbox import RUNTIME, FakeAgent, FakeSandboxProcess, serving

OWNER = "standalone"
LIMITS = Limits(memory_mb=64, cpu_percent=50, disk_mb=16, max_processes=30)


class FixedClock:
    def now(self):
        return 1e9


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

    async def fetch(self, query, params, build, until=None):
        await self._delays.wait(0.1)
        return self._fetch(query, params, build, until)

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


class WorldAgent(FakeAgent):
    """Takes its time. It may be `stubborn`, which is not to stop, or `mute` at a turn's end."""

    def __init__(self, delays, gate, *, deaths):
        super().__init__()
        self.gate = gate
        self.deaths = deaths
        self.stubborn = delays.random.random() < 0.1
        self.mute = False
        self.own_turns = 0
        self._in_own_turn = False
        self._one_turn = trio.StrictFIFOLock()
        self._delays = delays

    async def answer(self, process, command):
        if isinstance(command, Interrupt | Shutdown) and self.stubborn:
            return
        if not isinstance(command, Query):
            await super().answer(process, command)
        elif command.yields and self._in_own_turn:
            await process.say(PromptRefused(id=command.id))
        else:
            async with self._one_turn:
                await super().answer(process, command)

    async def work_by_itself(self, process):
        """Runs something in the background, and has a turn of its own when that has ended."""
        await process.say(BackgroundTasks(["sleep"]))
        await self._delays.wait(1.0)
        async with self._one_turn:
            self._in_own_turn = True
            self.own_turns += 1
            own = f"own-{self.own_turns}"
            await process.say(BackgroundTasks([]))
            self.interrupted = interrupted = trio.Event()
            await process.begin_own_turn(own)
            with trio.move_on_after(self._delays.random.choice((0, 0.1, 1, 30))):
                await interrupted.wait()
            await process.end_own_turn(own)
            self._in_own_turn = False

    async def open_engine(self, process, command):
        await self._delays.wait(3.0)
        await self.gate.wait()
        doomed = self.deaths and self._delays.random.random() < 0.1
        self.refusal = "no" if doomed else ""
        await super().open_engine(process, command)

    async def run_command(self, process, command):
        await self._delays.wait(3.0)
        await super().run_command(process, command)

    async def take_turn(self, process, command):
        self.interrupted = interrupted = trio.Event()
        how = "error_during_execution"
        with trio.move_on_after(self._delays.random.choice((0, 0.1, 1, 30))) as whole:
            await interrupted.wait()
        if whole.cancelled_caught:
            how = "success"
        if self.mute:
            return
        await process.say(
            EngineMessage(Raw(b'{"type":"assistant","uuid":"u","message":{"content":[]}}'))
        )
        await self._delays.wait(0.1)
        await process.say_result(how)


class World:
    """`bridges` are those that live, by the id of their session; `twice` who had two at a time.

    No engine is up before `gate` is set.
    """

    def __init__(
        self, store, delays, data_dir, nursery, *, idle_timeout, silence_timeout, background_limit
    ):
        self.store = store
        self.data_dir = data_dir
        self.bridges = {}
        self.twice = []
        self.deaths = False
        self.gate = trio.Event()
        self.gate.set()
        self._delays = delays
        sandbox_dependencies = SandboxDependencies(RUNTIME, Workspaces(data_dir), 60, 60, self.open)
        records = StoredSandboxRecords(store, OWNER, FixedClock())
        self.pool = Pool(sandbox_dependencies, records, nursery, Capacity(3, 1, 2))
        rules = ServerRules(
            permission_mode="bypassPermissions",
            idle_timeout=idle_timeout,
            background_limit=background_limit,
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
        agent = WorldAgent(self._delays, self.gate, deaths=self.deaths)
        process = self.bridges[sandbox_id] = FakeSandboxProcess(agent)
        try:
            async with serving(process):
                yield process
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
        return Counter(sandbox.state for sandbox in self.pool.statistics().sandboxes)


@asynccontextmanager
async def opened(
    seed, data_dir, monkeypatch, *, idle_timeout=0.0, silence_timeout=0.0, background_limit=3600.0
):
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
            world = World(
                store,
                delays,
                data_dir,
                nursery,
                idle_timeout=idle_timeout,
                silence_timeout=silence_timeout,
                background_limit=background_limit,
            )
            nursery.start_soon(world.pool.run)
            nursery.start_soon(world.sessions.sweep)
            yield world
            nursery.cancel_scope.cancel()
        store_nursery.cancel_scope.cancel()
