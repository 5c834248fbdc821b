"""The sandboxes of this daemon: booted before they are asked for, evicted when room is short.

A boot takes more than a second, nearly all of it the engine's, and a claim of a warm sandbox a few
milliseconds. So three questions are answered here, each by one rule.

Who gets a warm sandbox: a claim of the same tenant, agent, version and limits. Everything else that
a session asks for is given to the booted engine later (`Sandbox.bind`). A claim looks for a warm
sandbox before it queues for room, and what it does up to there has no checkpoint in it. So two
claims never get the same sandbox, and no claim of a warm one waits for an eviction.

Who goes when there is no room: closing sandboxes first, because they only have to be waited for;
then warm ones, which cost nobody anything; then the session that has been idle longest, which is
paused with its files. The session itself may refuse, as a turn may have begun meanwhile: then the
next one is asked. Running ones never go. One claim at a time makes room, under `_making_room`, or
two claims would evict two sandboxes for the same place.

What is booted ahead: one sandbox at a time, of the agent that was asked for last, and only while
no create boots or makes room. Nobody is evicted for it. A kind that fails to boot, or dies young
without use, is not booted again until somebody asks: it would fail again and again.

The rules are those of a pool of connections with a least-recently-used cache below it, but for one:
a sandbox is never given to a second session, which must not meet what the first one left
(docs/decisions/0006). Tried and dropped: a fork server that does the imports once for all
sandboxes, as most of a boot is the engine's own (docs/decisions/0010).
"""

from collections import Counter
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol
from uuid import uuid4

import trio
from msgspec import Struct

from ash.errors import Conflict, Unavailable
from ash.limits import Limits
from ash.log import get_logger
from ash.model import PoolStats
from ash.pool.kept_files import check_kept_files, drop_files, forked_files
from ash.pool.statistics import PoolStatistics, statistics_of
from ash.pool.warm_targets import WarmTarget, WarmTargets
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


class Capacity(Struct, frozen=True):
    """How many sandboxes may live, wait warm, and boot at a time.

    A boot takes a core for a second: a burst of creates must not slow the turns that run.
    """

    sandboxes: int
    warm: int
    boots: int


class SandboxRecords(Protocol):
    """The stored records of sandboxes, which survive a restart."""

    async def sandbox_added(self, sandbox_id: str, key: PoolKey) -> bool:
        """Returns whether there was a cold sandbox with that id."""
        ...

    async def sandbox_cold(self, sandbox_id: str) -> None: ...
    async def sandbox_removed(self, sandbox_id: str) -> None: ...
    async def count_cold(self) -> int: ...


class Pool:
    """Owns every sandbox. Each is a task of the nursery that the pool is given."""

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
        self._warm_targets = WarmTargets()
        self._changed = trio.Event()
        self._hits = 0
        self._resumed: Counter[str] = Counter()
        self._cold = 0
        self._closed = False

    async def run(self) -> None:
        """Boots the warm sandboxes that are lacking, one at a time, while no create waits."""
        self._cold += await self._records.count_cold()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while (target := self._next_lacking()) is not None:
                await self.boot(self._add(target.spec), target.settings)

    async def claim(self, spec: SandboxSpec) -> Sandbox:
        """Gives a sandbox to one session: a warm one, or a new one that `boot` has to boot.

        A claim that finds a warm one does not wait for claims that need room. Raises Unavailable
        if there is no room and nothing can be evicted.
        """
        self._dependencies.space.check()
        try:
            sandbox = self._claim_warm(spec)
            if sandbox is None:
                async with self._making_room:
                    sandbox = await self._claim_new(spec)
        finally:
            self._changed.set()
        return sandbox

    async def claim_again(self, sandbox_id: str, spec: SandboxSpec) -> Sandbox:
        """A new sandbox with the files that were kept of the last one with that id.

        Raises Conflict if that id has a sandbox already, Unavailable if there is no room, and as
        `check_files`.
        """
        self._dependencies.space.check()
        await self.check_files(sandbox_id, spec.limits)
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

    async def check_files(self, sandbox_id: str, limits: Limits) -> None:
        """Raises InsufficientStorage if the files of a sandbox are over these limits."""
        await check_kept_files(self._dependencies.workspaces, sandbox_id, limits)

    async def drop_files(self, sandbox_id: str, *, over: Limits | None) -> None:
        """Removes the files of an ended sandbox, or only if they are over these limits."""
        await drop_files(self._dependencies.workspaces, sandbox_id, over)

    def resumed(self, path: Literal["warm", "cold"], source: RestoredFrom | None = None) -> None:
        """Counts a resumed session, and where its files came from."""
        self._resumed[path] += 1
        if source is not None:
            self._resumed[source] += 1

    def forked_files(self, sandbox_id: str, fork_id: str) -> AbstractAsyncContextManager[None]:
        """Copies the files of one sandbox for another. If the block raises, the copy is removed.

        Raises NotFound if there are no files, Unavailable if there is no room.
        """
        self._dependencies.space.check()
        return forked_files(self._dependencies.workspaces, sandbox_id, fork_id)

    def release(self, sandbox: Sandbox) -> None:
        """Takes back a claimed sandbox for which no session was stored."""
        sandbox.claimed = False
        if sandbox.id in self._started:
            sandbox.close()
        else:
            self._drop(sandbox)

    async def boot(self, sandbox: Sandbox, settings: EngineLaunch) -> None:
        """Boots it, unless that has begun; returns when it is `ready`, booted or failed."""
        if sandbox.id not in self._started:
            self._started.add(sandbox.id)
            self._nursery.start_soon(self._keep, sandbox, settings)
        await sandbox.ready.wait()

    def keep_warm(self, spec: SandboxSpec, settings: Open, count: int) -> None:
        """Keeps `count` sandboxes of an agent warm from now on, and none of earlier versions."""
        if self._warm_targets.set(spec, settings, count):
            self._close_warm(spec.key.tenant, spec.key.agent, but=spec.key)
            self._changed.set()

    def stop_keeping_warm(self, tenant: str, agent: str) -> None:
        """Keeps no sandbox of the agent warm any more, because it was deleted."""
        self._warm_targets.remove(tenant, agent)
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

    def statistics(self) -> PoolStatistics:
        room = self._making_room.statistics()
        boots = self._boots.statistics()
        return PoolStatistics(
            sandboxes=tuple(map(statistics_of, self._sandboxes.values())),
            boots_running=int(boots.borrowed_tokens),
            boots_waiting=boots.tasks_waiting,
            claims_waiting=room.tasks_waiting + room.locked,
        )

    async def close(self) -> None:
        """Takes no more claims and ends unclaimed sandboxes. Sessions end their own."""
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
        """A sandbox's task: it waits for its turn to boot, runs, and is recorded in the store."""
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
        """Fetches its files, before its turn to boot: a slow cloud must not hold up boots."""
        fetched = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sandbox.cancel_when_closed, nursery.cancel_scope)
            await sandbox.fetch()
            fetched = sandbox.failure is None
            nursery.cancel_scope.cancel()
        return fetched

    async def _may_boot(self, sandbox: Sandbox) -> bool:
        """Waits for its turn to boot. Returns False if it was closed before that."""
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
        """Records it in the store; a sandbox that can't be recorded is not made."""
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
            # The next start puts the row right. Until then the sandbox is not counted as cold.
            self._cold -= sandbox.kept
            log.exception("sandbox.end_store_failed", sandbox=sandbox.id)

    def _stop_restocking(self, sandbox: Sandbox) -> None:
        """A kind that fails is not booted again until a deploy or a create asks for it."""
        key = sandbox.spec.key
        log.warning("pool.sandbox_failed", agent=key.agent, why=str(sandbox.failure))
        lived = 0.0 if sandbox.state == "warming" else trio.current_time() - sandbox.used_at
        self._warm_targets.sandbox_failed(key, lived)

    def _unclaimed(self) -> list[Sandbox]:
        return [
            sandbox
            for sandbox in self._sandboxes.values()
            if not sandbox.claimed and not sandbox.closing
        ]

    def _warm(self, spec: SandboxSpec) -> Sandbox | None:
        """A booted sandbox of that kind, or else one that boots; never one whose engine died."""
        usable = [
            sandbox
            for sandbox in self._unclaimed()
            if (sandbox.spec.key, sandbox.spec.limits) == (spec.key, spec.limits)
            and (sandbox.alive or (sandbox.state == "warming" and sandbox.failure is None))
        ]
        return min(usable, key=lambda sandbox: sandbox.state == "warming", default=None)

    def _next_lacking(self) -> WarmTarget | None:
        """What to boot next; None while there is no room, or while a create needs the boot."""
        unclaimed = self._unclaimed()
        sandboxes = self._sandboxes.values()
        wanted = self._making_room.locked() or any(
            sandbox.claimed and sandbox.state == "warming" for sandbox in sandboxes
        )
        full = len(sandboxes) >= self._capacity.sandboxes
        if wanted or full or len(unclaimed) >= self._capacity.warm:
            return None
        return self._warm_targets.next_lacking(sandbox.spec.key for sandbox in unclaimed)

    def _close_warm(self, tenant: str, agent: str, but: PoolKey | None = None) -> None:
        for sandbox in self._unclaimed():
            key = sandbox.spec.key
            if (key.tenant, key.agent) == (tenant, agent) and key != but:
                sandbox.close()

    async def _make_room(self) -> None:
        """Evicts until one more fits: warm ones first, then the one that has been idle longest."""
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
