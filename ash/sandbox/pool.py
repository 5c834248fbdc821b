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
from ash.sandbox.box import Box, Kind, Order, Origin, Settings, State, Workshop

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


class Ledger(Protocol):
    """What is remembered of sandboxes across restarts."""

    async def sandbox_added(self, sandbox_id: str, kind: Kind) -> bool:
        """Whether it is one that was cold."""
        ...

    async def sandbox_cold(self, sandbox_id: str) -> None: ...
    async def sandbox_removed(self, sandbox_id: str) -> None: ...
    async def count_cold(self) -> int: ...


class Stock(Struct):
    """What is to be kept warm of an agent: `count` sandboxes of its latest version."""

    order: Order
    settings: Open
    count: int
    asked_at: float


class Pool:
    """Owns every sandbox; each is a task of the nursery it is given."""

    def __init__(
        self, workshop: Workshop, ledger: Ledger, nursery: trio.Nursery, capacity: Capacity
    ) -> None:
        self._workshop = workshop
        self._ledger = ledger
        self._nursery = nursery
        self._capacity = capacity
        self._boots = trio.CapacityLimiter(capacity.boots)
        self._room = trio.Lock()
        self._boxes: dict[str, Box] = {}
        self._started: set[str] = set()
        self._tally: Counter[State] = Counter()
        self._stock: dict[tuple[str, str], Stock] = {}
        self._changed = trio.Event()
        self._hits = 0
        self._resumed: Counter[str] = Counter()
        self._cold = 0
        self._closed = False

    async def run(self) -> None:
        """Keeps the stock: boots what is lacking, one at a time, while nobody waits for a boot."""
        self._cold += await self._ledger.count_cold()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while (stock := self._lacking()) is not None:
                await self.boot(self._add(stock.order), stock.settings)

    async def claim(self, order: Order) -> Box:
        """A sandbox of that kind for one session: a warm one, or one that `boot` has to boot.

        Who finds a warm one does not wait for those who wait for room. Raises Unavailable when
        there is no room and nothing can be evicted.
        """
        try:
            box = self._claim_warm(order)
            if box is None:
                async with self._room:
                    box = await self._claim_new(order)
        finally:
            self._changed.set()
        return box

    async def claim_again(self, box_id: str, order: Order) -> Box:
        """A sandbox to go on with what was kept of the last one with that id.

        Raises Conflict if there is one already, Unavailable when there is no room.
        """
        async with self._room:
            await self._make_room()
            self._check_open()
            if box_id in self._boxes:
                raise Conflict("The session is being resumed already")
            box = self._boxes[box_id] = Box(box_id, order, self._workshop, self._tally)
            box.claimed = True
        return box

    def resumed(self, path: Literal["warm", "cold"], source: Origin | None = None) -> None:
        """Counts a resumed session, and what it was resumed from."""
        self._resumed[path] += 1
        if source is not None:
            self._resumed[source] += 1

    @asynccontextmanager
    async def forked_files(self, box_id: str, fork_id: str) -> AsyncIterator[None]:
        """A copy of what a sandbox has, for another one; it stays if the block ends well.

        Raises NotFound if there is nothing.
        """
        workspaces = self._workshop.workspaces
        try:
            await trio.to_thread.run_sync(workspaces.fork, box_id, fork_id)
            yield
        except BaseException:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(workspaces.drop, fork_id)
            raise

    def release(self, box: Box) -> None:
        """Takes back a claimed box that came to no session."""
        box.claimed = False
        if box.id in self._started:
            box.close()
        else:
            self._drop(box)

    async def boot(self, box: Box, settings: Settings) -> None:
        """Boots a box that isn't yet; returns when it is `ready`, well or with a failure."""
        if box.id not in self._started:
            self._started.add(box.id)
            self._nursery.start_soon(self._keep, box, settings)
        await box.ready.wait()

    def stock(self, order: Order, settings: Open, count: int) -> None:
        """Keeps `count` warm of an agent from now on, and none of its earlier versions."""
        kind = order.kind
        known = self._stock.get((kind.tenant, kind.agent))
        if known is not None and known.order.kind.version > kind.version:
            return
        self._stock[kind.tenant, kind.agent] = Stock(order, settings, count, trio.current_time())
        self._close_warm(kind.tenant, kind.agent, but=kind)
        self._changed.set()

    def unstock(self, tenant: str, agent: str) -> None:
        """The agent is gone: nothing of it is kept warm."""
        self._stock.pop((tenant, agent), None)
        self._close_warm(tenant, agent)

    def stats(self) -> PoolStats:
        return PoolStats(
            max_capacity=self._capacity.sandboxes,
            total=self._cold + len(self._boxes),
            cold=self._cold,
            warming=self._tally["warming"],
            warm=self._tally["warm"],
            waiting=self._tally["waiting"],
            running=self._tally["running"],
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
        self._stock.clear()
        ours = [box for box in self._boxes.values() if not box.claimed]
        for box in ours:
            box.close()
        for box in ours:
            await box.gone.wait()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down")

    def _add(self, order: Order) -> Box:
        box = Box(str(uuid4()), order, self._workshop, self._tally)
        self._boxes[box.id] = box
        return box

    def _claim_warm(self, order: Order) -> Box | None:
        self._check_open()
        box = self._warm(order)
        if box is not None:
            box.claimed = True
            self._hits += 1
        return box

    async def _claim_new(self, order: Order) -> Box:
        await self._make_room()
        self._check_open()
        box = self._add(order)
        box.claimed = True
        return box

    async def _keep(self, box: Box, settings: Settings) -> None:
        """A box's task: its turn to boot, its life, and what is remembered of it."""
        try:
            if not await self._is_remembered(box):
                return
            await self._run(box, settings)
            self._cold += box.kept
        finally:
            self._drop(box)
        await self._remember_end(box)

    async def _run(self, box: Box, settings: Settings) -> None:
        if await self._is_fetched(box) and await self._may_boot(box):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_boot, box)
                await box.run(settings)
                nursery.cancel_scope.cancel()
        if box.failure is not None and not box.claimed:
            self._doubt(box)

    async def _is_fetched(self, box: Box) -> bool:
        """Not while it holds its turn to boot: a cloud may be slow."""
        fetched = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.cancel_when_closed, nursery.cancel_scope)
            await box.fetch()
            fetched = box.failure is None
            nursery.cancel_scope.cancel()
        return fetched

    async def _may_boot(self, box: Box) -> bool:
        """Waits for its turn; False if it was closed before that came."""
        may = False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(box.cancel_when_closed, nursery.cancel_scope)
            await self._boots.acquire_on_behalf_of(box)
            may = True
            nursery.cancel_scope.cancel()
        return may

    async def _end_boot(self, box: Box) -> None:
        try:
            await box.ready.wait()
        finally:
            self._boots.release_on_behalf_of(box)
            self._changed.set()

    def _drop(self, box: Box) -> None:
        if self._boxes.pop(box.id, None) is not None:
            self._started.discard(box.id)
            box.forget()
            self._changed.set()

    async def _is_remembered(self, box: Box) -> bool:
        """What the store does not know of is not made."""
        try:
            box.kept = await self._ledger.sandbox_added(box.id, box.order.kind)
            self._cold -= box.kept
        except Exception as error:  # noqa: BLE001 - one sandbox must not take the others along
            box.fail(error)
        return box.failure is None

    async def _remember_end(self, box: Box) -> None:
        try:
            if box.kept:
                await self._ledger.sandbox_cold(box.id)
            else:
                await self._ledger.sandbox_removed(box.id)
        except Exception:
            # The next start settles it. Until then it isn't found as a cold one, nor taken off.
            self._cold -= box.kept
            log.exception("pool.end_not_stored", sandbox=box.id)

    def _doubt(self, box: Box) -> None:
        """What fails is not booted anew until a deploy or a create asks for it."""
        kind = box.order.kind
        log.warning("pool.sandbox_failed", agent=kind.agent, error=str(box.failure))
        lived = 0.0 if box.state == "warming" else trio.current_time() - box.used_at
        stock = self._stock.get((kind.tenant, kind.agent))
        if stock is not None and stock.order.kind == kind and lived < LEAST_LIFE:
            stock.count = 0

    def _unclaimed(self) -> list[Box]:
        return [box for box in self._boxes.values() if not box.claimed and not box.closing]

    def _warm(self, order: Order) -> Box | None:
        """One that is booted, else one that is booting; one whose engine died is never seen."""
        usable = [
            box
            for box in self._unclaimed()
            if (box.order.kind, box.order.limits) == (order.kind, order.limits)
            and (box.alive or (box.state == "warming" and box.failure is None))
        ]
        return min(usable, key=lambda box: box.state == "warming", default=None)

    def _lacking(self) -> Stock | None:
        """The stock to boot for next, the last asked for first; None while there is no room."""
        unclaimed = self._unclaimed()
        boxes = self._boxes.values()
        wanted = self._room.locked() or any(b.claimed and b.state == "warming" for b in boxes)
        full = len(boxes) >= self._capacity.sandboxes
        if wanted or full or len(unclaimed) >= self._capacity.warm:
            return None
        have = Counter(box.order.kind for box in unclaimed)
        lacking = [s for s in self._stock.values() if have[s.order.kind] < s.count]
        return max(lacking, key=lambda stock: stock.asked_at, default=None)

    def _close_warm(self, tenant: str, agent: str, but: Kind | None = None) -> None:
        for box in self._unclaimed():
            kind = box.order.kind
            if (kind.tenant, kind.agent) == (tenant, agent) and kind != but:
                box.close()

    async def _make_room(self) -> None:
        """Evicts until one more fits: warm ones first, then who has waited longest."""
        refused: set[str] = set()
        while len(self._boxes) >= self._capacity.sandboxes:
            victim = self._leaving() or self._victim(refused)
            if victim is None:
                text = f"All {self._capacity.sandboxes} sandboxes are busy: try again, or end one"
                raise Unavailable(text)
            if await self._goes(victim):
                await victim.gone.wait()
            else:
                refused.add(victim.id)

    async def _goes(self, box: Box) -> bool:
        if not box.claimed:
            box.close()
        return box.closing or (box.evict is not None and await box.evict())

    def _leaving(self) -> Box | None:
        return next((box for box in self._boxes.values() if box.closing), None)

    def _victim(self, refused: set[str]) -> Box | None:
        able = [box for box in self._boxes.values() if box.id not in refused]
        warm = [box for box in able if not box.claimed]
        waiting = [box for box in able if box.claimed and box.state == "waiting"]
        return min(warm or waiting, key=lambda box: box.used_at, default=None)
