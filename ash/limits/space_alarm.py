"""Finds out in some milliseconds that a sandbox outruns the disk sweep.

The sweep measures each second, and a program can write a gigabyte in that time. How much is free
on the whole disk can be asked for in microseconds. So one thread asks that many times a second. As
long as less was taken than a sandbox had left at its last measuring, it can't be over its limit,
and need not be measured. If more was taken, and the sandbox used the CPU time for that, it is
measured at once. It is frozen meanwhile, because a tree of many files takes a while.

A call of the kernel goes on while its process is frozen, and can write gigabytes. So a sandbox that
writes on, and fills the disk by as much, while it is being measured, is ended without a result.

What is given back is not set off against what is taken: else one sandbox could hide behind
another that deletes its files.

The same thread ends the largest writer when the disk has less room than the floor.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import trio
from msgspec import Struct

from ash.limits.amounts import MB
from ash.limits.disk_limit import add_up
from ash.limits.disk_sweep import DiskSweep, WatchedSandbox
from ash.limits.disk_usage import TooDeep, TooManyHeld
from ash.limits.free_space import FreeSpace
from ash.log import get_logger

log = get_logger()

# The thread's pause between two looks, in seconds. A kernel copies up to 2 GB a second, which is
# 20 MB in the short pause: while a turn or command runs, and while the disk fills. The long one is
# for what agents do in the background; all its looks take some 0.2 % of a CPU.
SLOW, FAST = 0.03, 0.01
FAST_FOR_SECONDS = 0.5
_FILLS = MB

# What others may have written, such as the database, before a sandbox without room is measured.
SLACK = 16 * MB

# No program writes more in a ns of CPU time, so a sandbox that used less did not write so much.
_BYTES_PER_NS = 10

# How much a sandbox may write while it stands still and is measured: one call's worth of a program.
_WRITTEN_ON = 32 * MB

# How often a sandbox is looked for that fills the disk below its floor.
_LOW_SECONDS = 1.0


def _never() -> bool:
    return False


class _Mark(Struct):
    """What is known of a sandbox since it was measured: the counters then, and its size."""

    taken: int
    cpu: int
    used: int


class _WritesOn(Exception):
    """Its kernel calls fill the disk faster than it can be measured."""


class AlarmStatistics(Struct, frozen=True):
    """`looks` counts the sandboxes that were measured at once."""

    looks: int
    ended: int


class SpaceAlarm:
    """Watches the sandboxes of a sweep."""

    def __init__(
        self, space: FreeSpace, sweep: DiskSweep, works: Callable[[], bool] = _never
    ) -> None:
        """`works` says, in any thread, whether a turn or a command runs in a sandbox."""
        self._space = space
        self._sweep = sweep
        self._works = works
        self._marks: dict[WatchedSandbox, _Mark] = {}
        self._before: int | None = None
        self._taken = 0
        self._was_low = False
        self._low_again_at = 0.0
        self._looks = 0
        self._ended = 0

    def statistics(self) -> AlarmStatistics:
        return AlarmStatistics(self._looks, self._ended)

    async def run(self) -> None:
        """Watches until cancelled. There is a thread only while there are sandboxes."""
        while True:
            await self._sweep.some_watched()
            stop = threading.Event()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_set_at_end, stop)
                limiter = trio.CapacityLimiter(1)
                await trio.to_thread.run_sync(self._watch, stop, limiter=limiter)
                nursery.cancel_scope.cancel()

    def _watch(self, stop: threading.Event) -> None:
        fast_until, self._before = 0.0, None
        while self._sweep.watched and not stop.is_set():
            # A disk that is gone says so to whoever uses it.
            with suppress(OSError):
                if self.look(_in_loop) >= _FILLS:
                    fast_until = time.monotonic() + FAST_FOR_SECONDS
            fast = time.monotonic() < fast_until or self._works()
            stop.wait(FAST if fast else SLOW)

    def look(self, tell: Callable[[Callable[[], None]], None]) -> int:
        """Measures whoever may be over; returns how much was taken since the last call. Blocks.

        `tell` calls what it is given in the event loop. Raises OSError.
        """
        now = self._space.taken()
        taken = max(0, now - (now if self._before is None else self._before))
        self._before = now
        self._taken += taken
        watched = self._sweep.watched
        self._keep_marks(watched, taken)
        if taken:
            for each in sorted(filter(self._may_be_over, watched), key=self._room):
                self._measure(each, tell)
        if self._space.is_low():
            self._end_largest_writer(watched, tell)
        self._was_low = self._was_low and self._space.is_low()
        return taken

    def _keep_marks(self, watched: list[WatchedSandbox], taken: int) -> None:
        """A new sandbox may have written all that was taken since the last look."""
        self._marks = {
            each: self._marks.get(each) or _Mark(self._taken - taken, 0, each.used)
            for each in watched
        }

    def _room(self, watched: WatchedSandbox) -> int:
        """What it could still write when it was measured."""
        return max(0, watched.limit - self._marks[watched].used)

    def _may_be_over(self, watched: WatchedSandbox) -> bool:
        mark, least = self._marks[watched], self._room(watched) + SLACK
        if self._taken - mark.taken < least:
            return False
        return _could_write(watched, mark, least)

    def _measure(
        self, watched: WatchedSandbox, tell: Callable[[Callable[[], None]], None]
    ) -> _Mark | None:
        """Judges it, and remembers what it took; None if it could not be measured."""
        self._looks += 1
        mark = _Mark(self._taken, watched.cpu_used() or 0, 0)
        with watched.frozen():
            try:
                mark.used = add_up(watched.sizes(), watched.limit, self._write_check(watched))
            except _WritesOn:
                self._ended += 1
                text = (
                    "The agent filled the disk faster than it could be measured, with not much left"
                    f" of its disk limit of {watched.limit // MB} MB"
                )
                tell(lambda: self._sweep.complain(watched, text))
                return None
            except (TooDeep, TooManyHeld):
                # The sweep finds that out as well, and says so.
                watched.look_again()
                return None
            except OSError:
                return None
            if watched.is_over(mark.used):
                self._ended += 1
                tell(lambda: self._sweep.judge(watched, mark.used))
        self._marks[watched] = mark
        return mark

    def _write_check(self, watched: WatchedSandbox) -> Callable[[], None]:
        """Raises _WritesOn if it has written on since now."""
        taken, written = self._space.taken(), _written(watched)

        def check() -> None:
            if (
                self._space.taken() - taken >= _WRITTEN_ON
                and _written(watched) - written >= _WRITTEN_ON
            ):
                raise _WritesOn

        return check

    def _end_largest_writer(
        self, watched: list[WatchedSandbox], tell: Callable[[Callable[[], None]], None]
    ) -> None:
        if not self._was_low:
            log.warning("disk.low", free_mb=self._space.free_mb(), floor_mb=self._space.floor_mb())
            self._was_low = True
        if time.monotonic() < self._low_again_at:
            return
        self._low_again_at = time.monotonic() + _LOW_SECONDS
        grown: dict[WatchedSandbox, int] = {}
        for each in watched:
            before = self._marks[each]
            if _could_write(each, before, SLACK) and (now := self._measure(each, tell)):
                grown[each] = now.used - before.used
                # So that one that writes slowly is found as well, in the end.
                self._marks[each] = before
        largest = max(grown, key=grown.__getitem__, default=None)
        if largest is not None and grown[largest] >= SLACK:
            self._ended += 1
            text = (
                f"The server's disk has less than {self._space.floor_mb()} MB free, and of all"
                f" agents this one wrote the most: {grown[largest] // MB} MB"
            )
            tell(lambda: self._sweep.complain(largest, text))


def _could_write(watched: WatchedSandbox, mark: _Mark, size: int) -> bool:
    """Whether it used the CPU time that this takes; true if that is not known."""
    cpu = watched.cpu_used()
    return cpu is None or (cpu - mark.cpu) * _BYTES_PER_NS >= size


def _written(watched: WatchedSandbox) -> int:
    """What its processes have written to disks so far, in bytes; 0 if the kernel does not say."""
    total = 0
    for pid in watched.processes():
        with suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/io").read_bytes().splitlines():
                if line.startswith(b"write_bytes: "):
                    total += int(line.partition(b" ")[2])
    return total


def _in_loop(call: Callable[[], None]) -> None:
    trio.from_thread.run_sync(call)


async def _set_at_end(event: threading.Event) -> None:
    try:
        await trio.sleep_forever()
    finally:
        event.set()
