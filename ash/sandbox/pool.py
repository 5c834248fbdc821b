"""The sandboxes of this daemon: booted before they are asked for, evicted when room is short."""

from collections import Counter
from typing import Protocol
from uuid import uuid4

import structlog
import trio
from msgspec import Struct

from ash.errors import Unavailable
from ash.model import PoolStats
from ash.protocol import Open
from ash.sandbox.box import Box, Kind, Order, State, Workshop

log = structlog.stdlib.get_logger()


class Capacity(Struct, frozen=True):
    """How many sandboxes may live, wait warm, and boot at a time.

    A boot takes a core for a second: a burst of creates must not slow the turns that run.
    """

    sandboxes: int
    warm: int
    boots: int


class Ledger(Protocol):
    """What is remembered of sandboxes across restarts."""

    async def sandbox_added(self, sandbox_id: str, kind: Kind) -> None: ...
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
        self._cold = 0
        self._closed = False

    async def run(self) -> None:
        """Keeps the stock: boots what is lacking, one at a time, while nobody waits for a boot."""
        self._cold = await self._ledger.count_cold()
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            while (stock := self._lacking()) is not None:
                box = self._add(stock.order)
                await self.boot(box, stock.settings)
                if box.failure is not None:
                    # It would fail again; a deploy or a create asks for it anew.
                    stock.count = 0
                    log.warning("pool.boot_failed", agent=stock.order.kind.agent)

    async def claim(self, order: Order) -> Box:
        """A sandbox of that kind for one session: a warm one, or one that `boot` has to boot.

        Raises Unavailable when there is no room and nothing can be evicted.
        """
        async with self._room:
            self._check_open()
            box = self._warm(order)
            if box is None:
                await self._make_room()
                self._check_open()
                box = self._add(order)
            else:
                self._hits += 1
            box.claimed = True
        self._changed.set()
        return box

    def release(self, box: Box) -> None:
        """Takes back a claimed box that came to no session."""
        box.claimed = False
        if box.id in self._started:
            box.close()
        else:
            box.forget()
            del self._boxes[box.id]

    async def boot(self, box: Box, settings: Open) -> None:
        """Boots a box that isn't yet; returns when it is `ready`, well or with a failure."""
        if box.id not in self._started:
            self._started.add(box.id)
            self._nursery.start_soon(self._keep, box, settings)
        await box.ready.wait()

    def stock(self, order: Order, settings: Open, count: int) -> None:
        """Keeps `count` warm of an agent from now on, and none of its earlier versions."""
        kind = order.kind
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
        )

    async def close(self) -> None:
        """Takes no more claims and ends what no session holds; sessions end their own."""
        self._closed = True
        self._stock.clear()
        for box in list(self._boxes.values()):
            if not box.claimed:
                box.close()
                await box.gone.wait()

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down")

    def _add(self, order: Order) -> Box:
        box = Box(str(uuid4()), order, self._workshop, self._tally)
        self._boxes[box.id] = box
        return box

    async def _keep(self, box: Box, settings: Open) -> None:
        """A box's task: its turn to boot, its life, and what is remembered of it."""
        try:
            await self._ledger.sandbox_added(box.id, box.order.kind)
            await self._boots.acquire_on_behalf_of(box)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._free_boot, box)
                await box.run(settings)
            await self._put_away(box)
        finally:
            del self._boxes[box.id]
            self._started.remove(box.id)
            self._changed.set()

    async def _free_boot(self, box: Box) -> None:
        try:
            await box.ready.wait()
        finally:
            self._boots.release_on_behalf_of(box)

    async def _put_away(self, box: Box) -> None:
        if box.claimed:
            self._cold += 1
            await self._ledger.sandbox_cold(box.id)
        else:
            await self._ledger.sandbox_removed(box.id)

    def _unclaimed(self) -> list[Box]:
        return [box for box in self._boxes.values() if not box.claimed and not box.closing]

    def _warm(self, order: Order) -> Box | None:
        """One that is booted, else one that is booting; one whose engine died is never seen."""
        usable = [
            box
            for box in self._unclaimed()
            if (box.order.kind, box.order.limits) == (order.kind, order.limits)
            and (box.alive or box.state == "warming")
        ]
        return min(usable, key=lambda box: box.state == "warming", default=None)

    def _lacking(self) -> Stock | None:
        """The stock to boot for next, the last asked for first; None while there is no room."""
        unclaimed = self._unclaimed()
        busy = self._boots.available_tokens < 1 or self._boots.statistics().tasks_waiting > 0
        full = len(self._boxes) >= self._capacity.sandboxes
        if busy or full or len(unclaimed) >= self._capacity.warm:
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
            victim = self._victim(refused)
            if victim is None:
                text = f"All {self._capacity.sandboxes} sandboxes are busy: try again, or end one"
                raise Unavailable(text)
            if not victim.claimed:
                victim.close()
            elif victim.evict is None or not await victim.evict():
                refused.add(victim.id)
                continue
            await victim.gone.wait()

    def _victim(self, refused: set[str]) -> Box | None:
        able = [box for box in self._boxes.values() if box.id not in refused]
        warm = [box for box in able if not box.claimed]
        waiting = [box for box in able if box.claimed and box.state == "waiting"]
        return min(warm or waiting, key=lambda box: box.used_at, default=None)
