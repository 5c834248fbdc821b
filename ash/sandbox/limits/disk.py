"""Watches what sandboxes take on disk: there is no quota for a folder, so somebody has to look."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

import trio

from ash.sandbox.limits.amounts import MB
from ash.sandbox.limits.usage import MAX_DEPTH, TooDeep, entry_sizes, unlinked_sizes

# Looking at one costs about 4 µs: the sweep takes less than a tenth of one CPU.
ENTRIES_PER_SECOND = 20_000

# So many at a time in a thread, 4 ms: the interpreter is shared with the event loop.
SLICE = 1000

# A small workspace is looked at this often.
PASS_SECONDS = 1.0


class Watched:
    """One sandbox's folders. `used` is what they took when last looked at, in bytes."""

    def __init__(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]],
    ) -> None:
        self.used = 0
        self.complaint: str | None = None
        self._folders = folders
        self._limit_mb = limit_mb
        self._over = over
        self._processes = processes

    def sizes(self) -> Generator[int]:
        """What each file takes, lazily: blocks as it goes. Raises TooDeep, OSError."""
        yield from entry_sizes(self._folders)
        device = self._folders[0].stat().st_dev
        yield from unlinked_sizes(self._processes(), device)

    def judge(self, used: int, *, too_deep: bool = False) -> None:
        """Calls `over` when it has gone over, and not again before it was under."""
        before, self.used = self.complaint, used
        self.complaint = None
        if too_deep:
            self.complaint = f"The agent's folders are nested more than {MAX_DEPTH} deep"
        elif self.is_over(used):
            self.complaint = f"The agent went over its disk limit of {self._limit_mb} MB"
        if self.complaint and not before:
            self._over(self.complaint)

    def is_over(self, used: int) -> bool:
        return used > self._limit_mb * MB


class DiskSweep:
    """One task for a daemon. A pass looks at each sandbox in turn, at a bounded pace.

    An agent can outrun it by what it writes between two looks; a single file can't grow over
    the limit at all, by RLIMIT_FSIZE.
    """

    def __init__(self) -> None:
        self._watched: set[Watched] = set()

    @contextmanager
    def watch(
        self,
        folders: Sequence[Path],
        limit_mb: int,
        over: Callable[[str], None],
        processes: Callable[[], Iterable[int]] = tuple,
    ) -> Iterator[Watched]:
        """Calls `over` with a sentence, in the event loop, each time the folders go over.

        `processes` tells who may hold files that have no name any more.
        """
        watched = Watched(folders, limit_mb, over, processes)
        self._watched.add(watched)
        try:
            yield watched
        finally:
            self._watched.remove(watched)

    async def run(self) -> None:
        """Sweeps until cancelled."""
        while True:
            begun = trio.current_time()
            for watched in list(self._watched):
                await self._look(watched)
            await trio.sleep_until(begun + PASS_SECONDS)

    async def _look(self, watched: Watched) -> None:
        """Stops as soon as it is too much."""
        used, too_deep = 0, False
        try:
            with closing(watched.sizes()) as sizes:
                while some := await trio.to_thread.run_sync(_take, sizes):
                    used += sum(some)
                    await trio.sleep(len(some) / ENTRIES_PER_SECOND)
                    if watched.is_over(used):
                        break
        except TooDeep:
            too_deep = True
        except OSError:
            return
        # It may have ended meanwhile.
        if watched in self._watched:
            watched.judge(used, too_deep=too_deep)


def _take(sizes: Iterable[int]) -> list[int]:
    return list(islice(sizes, SLICE))
