"""The sandboxes of this daemon: booted before they are asked for, evicted when room is short."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal, Protocol
from uuid import uuid4

import trio
from msgspec import Struct

from ash.errors import Conflict, Unavailable
from ash.log import get_logger
from ash.model import PoolStats
from ash.protocol import Open
from ash.sandbox.sandbox import (
    EngineLaunch,
    PoolKey,
    RestoredFrom,
    Sandbox,
    SandboxDependencies,
    SandboxSpec,
    SandboxState,
)

log = get_logger()

# One that dies sooner after its boot, of itself and unused, would do so again and again.
LEAST_LIFE = 60.0


class Capacity(Struct, frozen=True):
    """How many sandboxes may live, wait warm, and boot at a time.

    A boot takes a core for a second: a burst of creates must not slow the turns that run.
    """

    sandboxes: int
    warm: int
    boots: int


class SandboxRecords(Protocol):
    """What is remembered of sandboxes across restarts."""

    async def sandbox_added(self, sandbox_id: str, key: PoolKey) -> bool:
        """Whether it is one that was cold."""
        ...

    async def sandbox_cold(self, sandbox_id: str) -> None: ...
    async def sandbox_removed(self, sandbox_id: str) -> None: ...
    async def count_cold(self) -> int: ...


class WarmTarget(Struct):
    """What is to be kept warm of an agent: `count` sandboxes of its latest version."""

    spec: SandboxSpec
    settings: Open
    count: int
    asked_at: float


class Pool:
    """Owns every sandbox; each is a task of the nursery it is given."""

    def __init__(
        self,
        dependencies: SandboxDependencies,
        records: SandboxRecords,
        nursery: trio.Nursery,
        capacity: Capacity,
    ) -> None:
        self._dependencies = dependencies
        self._records = records
        self._nursery = nursery
        self._capacity = capacity
        self._boots = trio.CapacityLimiter(capacity.boots)
        self._making_room = trio.Lock()
        self._sandboxes: dict[str, Sandbox] = {}
        self._started: set[str] = set()
        self._counts: Counter[SandboxState] = Counter()
        self._warm_targets: dict[tuple[str, str], WarmTarget] = {}
        self._changed = trio.Event()
        self._hits = 0
        self._resumed: Counter[str] = Counter()
        self._cold = 0
        self._closed = False

    async def run(self) -> None:
        """Keeps the stock: boots what is lacking, one at a time, while nobody waits for a boot."""
        self._cold += await self._records.count_cold()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while (target := self._next_lacking()) is not None:
                await self.boot(self._add(target.spec), target.settings)

    async def claim(self, spec: SandboxSpec) -> Sandbox:
        """A sandbox of that kind for one session: a warm one, or one that `boot` has to boot.

        Who finds a warm one does not wait for those who wait for room. Raises Unavailable when
        there is no room and nothing can be evicted.
        """
        try:
            sandbox = self._claim_warm(spec)
            if sandbox is None:
                async with self._making_room:
                    sandbox = await self._claim_new(spec)
        finally:
            self._changed.set()
        return sandbox

    async def claim_again(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        """A sandbox to go on with what was kept of the last one with that id.

        Raises Conflict if there is one already, Unavailable when there is no room.
        """
        async with self._making_room:
            await self._make_room()
            self._check_open()
            if sandbox_id in self._sandboxes:
                raise Conflict("The session is being resumed already")
            sandbox = self._sandboxes[sandbox_id] = Sandbox(
                sandbox_id, spec, self._dependencies, self._counts
            )
            sandbox.claimed = True
        return sandbox

    def resumed(self, path: Literal["warm", "cold"], source: RestoredFrom | None = None) -> None:
        """Counts a resumed session, and what it was resumed from."""
        self._resumed[path] += 1
        if source is not None:
            self._resumed[source] += 1

    @asynccontextmanager
    async def forked_files(self, sandbox_id: str, fork_id: str) -> AsyncIterator[None]:
        """A copy of what a sandbox has, for another one; it stays if the block ends well.

        Raises NotFound if there is nothing.
        """
        workspaces = self._dependencies.workspaces
        try:
            await trio.to_thread.run_sync(workspaces.fork, sandbox_id, fork_id)
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(workspaces.drop, fork_id)
            raise

    def release(self, sandbox: Sandbox) -> None:
        """Takes back a claimed box that came to no session."""
        sandbox.claimed = False
        if sandbox.id in self._started:
            sandbox.close()
        else:
            self._drop(sandbox)

    async def boot(self, sandbox: Sandbox, settings: EngineLaunch) -> None:
        """Boots a box that isn't yet; returns when it is `ready`, well or with a failure."""
        if sandbox.id not in self._started:
            self._started.add(sandbox.id)
            self._nursery.start_soon(self._keep, sandbox, settings)
        await sandbox.ready.wait()

    def keep_warm(self, spec: SandboxSpec, settings: Open, count: int) -> None:
        """Keeps `count` warm of an agent from now on, and none of its earlier versions."""
        key = spec.key
        known = self._warm_targets.get((key.tenant, key.agent))
        if known is not None and known.spec.key.version > key.version:
            return
        self._warm_targets[key.tenant, key.agent] = WarmTarget(
            spec, settings, count, trio.current_time()
        )
        self._close_warm(key.tenant, key.agent, but=key)
        self._changed.set()

    def stop_keeping_warm(self, tenant: str, agent: str) -> None:
        """The agent is gone: nothing of it is kept warm."""
        self._warm_targets.pop((tenant, agent), None)
        self._close_warm(tenant, agent)

    def stats(self) -> PoolStats:
        return PoolStats(
            max_capacity=self._capacity.sandboxes,
            total=self._cold + len(self._sandboxes),
            cold=self._cold,
            warming=self._counts["warming"],
            warm=self._counts["warm"],
            waiting=self._counts["waiting"],
            running=self._counts["running"],
            pre_warm_hits=self._hits,
            resume_warm_hits=self._resumed["warm"],
            resume_cold_hits=self._resumed["cold"],
            resume_cold_local_hits=self._resumed["local"],
            resume_cold_cloud_hits=self._resumed["cloud"],
            resume_cold_fresh_hits=self._resumed["fresh"],
        )

    async def close(self) -> None:
        """Takes no more claims and ends what no session holds; sessions end their own."""
        self._closed = True
        self._warm_targets.clear()
        ours = [sandbox for sandbox in self._sandboxes.values() if not sandbox.claimed]
        for sandbox in ours:
            sandbox.close()
        for sandbox in ours:
            await sandbox.gone.wait()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down")

    def _add(self, spec: SandboxSpec) -> Sandbox:
        sandbox = Sandbox(str(uuid4()), spec, self._dependencies, self._counts)
        self._sandboxes[sandbox.id] = sandbox
        return sandbox

    def _claim_warm(self, spec: SandboxSpec) -> Sandbox | None:
        self._check_open()
        sandbox = self._warm(spec)
        if sandbox is not None:
            sandbox.claimed = True
            self._hits += 1
        return sandbox

    async def _claim_new(self, spec: SandboxSpec) -> Sandbox:
        await self._make_room()
        self._check_open()
        sandbox = self._add(spec)
        sandbox.claimed = True
        return sandbox

    async def _keep(self, sandbox: Sandbox, settings: EngineLaunch) -> None:
        """A box's task: its turn to boot, its life, and what is remembered of it."""
        try:
            if not await self._is_remembered(sandbox):
                return
            await self._run(sandbox, settings)
            self._cold += sandbox.kept
        finally:
            self._drop(sandbox)
        await self._remember_end(sandbox)

    async def _run(self, sandbox: Sandbox, settings: EngineLaunch) -> None:
        if await self._is_fetched(sandbox) and await self._may_boot(sandbox):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_boot, sandbox)
                await sandbox.run(settings)
                nursery.cancel_scope.cancel()
        if sandbox.failure is not None and not sandbox.claimed:
            self._stop_restocking(sandbox)

    async def _is_fetched(self, sandbox: Sandbox) -> bool:
        """Not while it holds its turn to boot: a cloud may be slow."""
        fetched = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.cancel_when_closed, nursery.cancel_scope)
            await sandbox.fetch()
            fetched = sandbox.failure is None
            nursery.cancel_scope.cancel()
        return fetched

    async def _may_boot(self, sandbox: Sandbox) -> bool:
        """Waits for its turn; False if it was closed before that came."""
        may = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.cancel_when_closed, nursery.cancel_scope)
            await self._boots.acquire_on_behalf_of(sandbox)
            may = True
            nursery.cancel_scope.cancel()
        return may

    async def _end_boot(self, sandbox: Sandbox) -> None:
        try:
            await sandbox.ready.wait()
        finally:
            self._boots.release_on_behalf_of(sandbox)
            self._changed.set()

    def _drop(self, sandbox: Sandbox) -> None:
        if self._sandboxes.pop(sandbox.id, None) is not None:
            self._started.discard(sandbox.id)
            sandbox.forget()
            self._changed.set()

    async def _is_remembered(self, sandbox: Sandbox) -> bool:
        """What the store does not know of is not made."""
        try:
            sandbox.kept = await self._records.sandbox_added(sandbox.id, sandbox.spec.key)
            self._cold -= sandbox.kept
        except Exception as error:  # noqa: BLE001 - one sandbox must not take the others along
            sandbox.fail(error)
        return sandbox.failure is None

    async def _remember_end(self, sandbox: Sandbox) -> None:
        try:
            if sandbox.kept:
                await self._records.sandbox_cold(sandbox.id)
            else:
                await self._records.sandbox_removed(sandbox.id)
        except Exception:
            # The next start settles it. Until then it isn't found as a cold one, nor taken off.
            self._cold -= sandbox.kept
            log.exception("sandbox.end_store_failed", sandbox=sandbox.id)

    def _stop_restocking(self, sandbox: Sandbox) -> None:
        """What fails is not booted anew until a deploy or a create asks for it."""
        key = sandbox.spec.key
        log.warning("pool.sandbox_failed", agent=key.agent, why=str(sandbox.failure))
        lived = 0.0 if sandbox.state == "warming" else trio.current_time() - sandbox.used_at
        target = self._warm_targets.get((key.tenant, key.agent))
        if target is not None and target.spec.key == key and lived < LEAST_LIFE:
            target.count = 0

    def _unclaimed(self) -> list[Sandbox]:
        return [
            sandbox
            for sandbox in self._sandboxes.values()
            if not sandbox.claimed and not sandbox.closing
        ]

    def _warm(self, spec: SandboxSpec) -> Sandbox | None:
        """One that is booted, else one that is booting; one whose engine died is never seen."""
        usable = [
            sandbox
            for sandbox in self._unclaimed()
            if (sandbox.spec.key, sandbox.spec.limits) == (spec.key, spec.limits)
            and (sandbox.alive or (sandbox.state == "warming" and sandbox.failure is None))
        ]
        return min(usable, key=lambda sandbox: sandbox.state == "warming", default=None)

    def _next_lacking(self) -> WarmTarget | None:
        """The stock to boot for next, the last asked for first; None while there is no room."""
        unclaimed = self._unclaimed()
        sandboxes = self._sandboxes.values()
        wanted = self._making_room.locked() or any(
            b.claimed and b.state == "warming" for b in sandboxes
        )
        full = len(sandboxes) >= self._capacity.sandboxes
        if wanted or full or len(unclaimed) >= self._capacity.warm:
            return None
        have = Counter(sandbox.spec.key for sandbox in unclaimed)
        lacking = [s for s in self._warm_targets.values() if have[s.spec.key] < s.count]
        return max(lacking, key=lambda target: target.asked_at, default=None)

    def _close_warm(self, tenant: str, agent: str, but: PoolKey | None = None) -> None:
        for sandbox in self._unclaimed():
            key = sandbox.spec.key
            if (key.tenant, key.agent) == (tenant, agent) and key != but:
                sandbox.close()

    async def _make_room(self) -> None:
        """Evicts until one more fits: warm ones first, then who has waited longest."""
        refused: set[str] = set()
        while len(self._sandboxes) >= self._capacity.sandboxes:
            victim = self._leaving() or self._victim(refused)
            if victim is None:
                text = f"All {self._capacity.sandboxes} sandboxes are busy: try again, or end one"
                raise Unavailable(text)
            if await self._gave_way(victim):
                await victim.gone.wait()
            else:
                refused.add(victim.id)

    async def _gave_way(self, sandbox: Sandbox) -> bool:
        if not sandbox.claimed:
            sandbox.close()
        return sandbox.closing or await sandbox.evict()

    def _leaving(self) -> Sandbox | None:
        return next((sandbox for sandbox in self._sandboxes.values() if sandbox.closing), None)

    def _victim(self, refused: set[str]) -> Sandbox | None:
        able = [sandbox for sandbox in self._sandboxes.values() if sandbox.id not in refused]
        warm = [sandbox for sandbox in able if not sandbox.claimed]
        waiting = [sandbox for sandbox in able if sandbox.claimed and sandbox.state == "waiting"]
        return min(warm or waiting, key=lambda sandbox: sandbox.used_at, default=None)
