"""Holds sandboxes to their disk limits by measuring their folders again and again.

Why it measures: on most machines a folder can't have a quota. ext4 and XFS have quotas for
projects, but only if they are mounted with that option; overlays have none. A file system for each
sandbox would take root. Watching changes with inotify would take a watch for each folder, and says
nothing about how much a file grew.

How it works: the sandboxes are measured in slices, in a thread, and take turns. It leaves out those
that can't have changed, so that idle ones cost nothing: only a process that runs can write, and
the kernel counts the CPU time of each group (`ResourceGroup.cpu_used`; io_uring's threads are
counted with their process). A sandbox is looked at

- after a second, if its group used 10 ms of CPU or more since the last look, or if the count
  can't be read, as on a machine without cgroups;
- after 10 s, if it used less. With so little, an agent can take less of the disk than a busy one
  can in the second between two looks. Looking after any use at all was tried and dropped: a Claude
  CLI that waits uses 1 ms a second, and so was looked at every second;
- in the next pass, after the daemon itself has written to it (`look_again`), as in an upload;
- after 10 s, 20 s, 40 s and so on, up to 10 min, if it used none. Some file systems give a file
  its blocks seconds after the write (ZFS, NFS), and this does not rely on one counter alone.

An agent can exceed its limit by what it writes between two looks. A single file can't: it is
limited by RLIMIT_FSIZE.
"""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import trio

from ash.limits.amounts import MB
from ash.limits.disk_usage import (
    MAX_HELD,
    UNREADABLE,
    TooDeep,
    TooManyHeld,
    entry_sizes,
    unlinked_sizes,
)
from ash.workspaces.copy_program import MAX_DEPTH

# One entry takes about 4 µs, so the sweep takes less than a tenth of one CPU.
ENTRIES_PER_SECOND = 20_000

# How many entries a thread measures at a time. It takes 4 ms, in which it shares the
# interpreter with the event loop.
SLICE = 1000

# How often each sandbox that may have changed is measured, if all of them are small.
PASS_SECONDS = 1.0

# A group that used so much CPU since the last look, in ns, is looked at in the next pass.
BUSY = 10_000_000

# How long after a look the next one is due for the others: see above.
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0

TOO_MANY_HELD = f"The agent's processes hold more than {MAX_HELD:,} files open"


class LookSchedule:
    """When a sandbox has to be looked at, by the CPU time of its group."""

    def __init__(self) -> None:
        self.changed = True
        self._cpu = 0
        self._looked_at = -math.inf
        self._quiet_pause = FIRST_PAUSE

    def start_look(self, cpu: int | None, now: float) -> bool:
        """Whether a look is due. What changes after this call counts as changed since that look.

        `cpu` is what the group has used until now, None if that is not known.
        """
        used = BUSY if self.changed or cpu is None else cpu - self._cpu
        if now < self._looked_at + self._pause(used):
            return False
        self._quiet_pause = FIRST_PAUSE if used else min(2 * self._quiet_pause, LONGEST_PAUSE)
        self._cpu, self._looked_at, self.changed = cpu or 0, now, False
        return True

    def _pause(self, used: int) -> float:
        if used >= BUSY:
            return 0
        return FIRST_PAUSE if used else self._quiet_pause


def _unknown() -> None:
    return None


class WatchedSandbox:
    """One sandbox's folders. `used` is what they took at the last look, in bytes."""

    def __init__(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]],
        cpu_used: Callable[[], int | None],
        *,
        frozen: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.used = 0
        self.complaint: str | None = None
        self.folders = folders
        self._limit_mb = limit_mb
        self._over = over
        self.processes = processes
        self.cpu_used = cpu_used
        self.frozen = frozen
        self._schedule = LookSchedule()

    def look_again(self) -> None:
        """Makes a look due, whatever CPU the group uses."""
        self._schedule.changed = True

    def start_look(self, now: float) -> bool:
        """Whether a look is due, which then has to follow; blocks for some µs."""
        return self._schedule.start_look(self.cpu_used(), now)

    def sizes(self) -> Generator[int]:
        """Yields what each file takes; blocks as it goes. Raises TooDeep, OSError."""
        yield from entry_sizes(self.folders)
        device = self.folders[0].stat().st_dev
        yield from unlinked_sizes(self.processes(), device)

    def judge(self, used: int, *, too_deep: bool = False) -> None:
        """Calls `over` when the limit is exceeded, and not again before `used` was below it."""
        before, self.used = self.complaint, used
        self.complaint = None
        if too_deep:
            self.complaint = f"The agent's folders are nested more than {MAX_DEPTH} deep"
        elif used >= UNREADABLE:
            self.complaint = "The agent keeps a folder closed while its disk use is measured"
        elif self.is_over(used):
            self.complaint = f"The agent went over its disk limit of {self._limit_mb} MB"
        if self.complaint and not before:
            self._over(self.complaint)

    def complain(self, text: str) -> None:
        """Calls `over`, unless it was called already."""
        if not self.complaint:
            self.complaint = text
            self._over(text)

    @property
    def limit(self) -> int:
        """In bytes."""
        return self._limit_mb * MB

    def is_over(self, used: int) -> bool:
        return used > self._limit_mb * MB


class DiskSweep:
    """The one task of a daemon that measures its sandboxes; the module's text says how."""

    def __init__(self) -> None:
        self._watched: set[WatchedSandbox] = set()
        self._looked_at: set[WatchedSandbox] = set()
        self._slice = trio.StrictFIFOLock()
        self._some_watched = trio.Event()

    @property
    def watched(self) -> list[WatchedSandbox]:
        """May be called in any thread."""
        return list(self._watched)

    async def some_watched(self) -> None:
        """Returns once there is a sandbox to watch."""
        await self._some_watched.wait()

    @contextmanager
    def watch(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]] = tuple,
        cpu_used: Callable[[], int | None] = _unknown,
        *,
        frozen: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> Iterator[WatchedSandbox]:
        """Calls `over` with a sentence, in the event loop, each time the folders go over.

        `processes` are those that may hold deleted files. `cpu_used` is the CPU time that all
        processes which can write to the folders have used so far, None if it is not known.
        In the context `frozen`, none of them runs, if the kernel can do that.
        """
        watched = WatchedSandbox(folders, limit_mb, over, processes, cpu_used, frozen=frozen)
        self._watched.add(watched)
        self._some_watched.set()
        try:
            yield watched
        finally:
            self._watched.remove(watched)
            if not self._watched:
                self._some_watched = trio.Event()

    def judge(self, watched: WatchedSandbox, used: int, *, too_deep: bool = False) -> None:
        """The outcome of a look. The sandbox may have ended meanwhile."""
        if watched in self._watched:
            watched.judge(used, too_deep=too_deep)

    def complain(self, watched: WatchedSandbox, text: str) -> None:
        """Calls `over` of a sandbox that has not ended."""
        if watched in self._watched:
            watched.complain(text)

    def look_again(self, folder: Path) -> None:
        """To be called after the daemon itself has written to `folder`."""
        for watched in self._watched:
            if folder in watched.folders:
                watched.look_again()

    async def run(self) -> None:
        """Sweeps until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                begun = trio.current_time()
                await self._begin_looks(nursery)
                await trio.sleep_until(begun + PASS_SECONDS)

    async def look_at_due(self) -> None:
        """Makes one pass."""
        async with trio.open_nursery() as nursery:
            await self._begin_looks(nursery)

    async def _begin_looks(self, nursery: trio.Nursery) -> None:
        """A thread finds out which sandboxes are due, at 15 µs each."""
        watched, now = list(self._watched - self._looked_at), trio.current_time()
        for due in await trio.to_thread.run_sync(_due, watched, now):
            self._looked_at.add(due)
            nursery.start_soon(self._look, due)

    async def _look(self, watched: WatchedSandbox) -> None:
        """Ends as soon as the limit is exceeded: the rest need not be measured.

        All that are looked at take turns, a slice each, so a large one holds no small one up.
        """
        used, too_deep = 0, False
        try:
            with closing(watched.sizes()) as sizes:
                while some := await self._next_slice(sizes):
                    used += sum(some)
                    if watched.is_over(used):
                        break
        except TooDeep:
            too_deep = True
        except TooManyHeld:
            self.complain(watched, TOO_MANY_HELD)
            return
        except OSError:
            watched.look_again()
            return
        finally:
            self._looked_at.discard(watched)
        self.judge(watched, used, too_deep=too_deep)

    async def _next_slice(self, sizes: Iterable[int]) -> list[int]:
        async with self._slice:
            some = await trio.to_thread.run_sync(_take, sizes)
            await trio.sleep(len(some) / ENTRIES_PER_SECOND)
            return some


def _due(watched: Iterable[WatchedSandbox], now: float) -> list[WatchedSandbox]:
    return [each for each in watched if each.start_look(now)]


def _take(sizes: Iterable[int]) -> list[int]:
    return list(islice(sizes, SLICE))
