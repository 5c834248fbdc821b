"""Uploads in the background what has changed."""

from collections.abc import Awaitable, Callable

import trio

from ash.log import get_logger
from ash.workspaces.snapshots.snapshot_store import StoreFailed, Subject
from ash.workspaces.snapshots.snapshots import Snapshots, SnapshotSource

log = get_logger()

# Names only, a few MB. What does not fit is found by the next start.
QUEUE = 10_000

# A cloud that fails is left alone for so long, doubled each time.
FIRST_WAIT = 5.0
LONGEST_WAIT = 300.0


class Uploader:
    """One at a time: an upload takes what bandwidth there is, packing one core."""

    def __init__(
        self, snapshots: Snapshots, find: Callable[[Subject], Awaitable[SnapshotSource | None]]
    ) -> None:
        """`find` says what there is to upload of it; None drops what was uploaded."""
        self._snapshots = snapshots
        self._find = find
        self._due: dict[Subject, None] = {}
        self._changed = trio.Event()
        self._busy = False
        self._failures = 0

    def add(self, subject: Subject) -> None:
        """It has changed. Never waits."""
        if len(self._due) >= QUEUE and subject not in self._due:
            log.warning(
                "snapshot.skipped", of=subject.kind, tenant=subject.tenant, name=subject.name
            )
            return
        self._due[subject] = None
        self._notify()

    async def run(self) -> None:
        """Runs until cancelled. A failing cloud is tried again and again."""
        while True:
            while not self._due:
                await self._changed.wait()
            subject = next(iter(self._due))
            del self._due[subject]
            self._busy = True
            try:
                await self._upload(subject)
            except (StoreFailed, OSError) as error:
                self._failures += 1
                log.warning(
                    "snapshot.failed",
                    of=subject.kind,
                    tenant=subject.tenant,
                    name=subject.name,
                    why=str(error),
                    tries=self._failures,
                )
                self.add(subject)
            except Exception:
                log.exception(
                    "snapshot.crashed", of=subject.kind, tenant=subject.tenant, name=subject.name
                )
            else:
                self._failures = 0
            finally:
                self._busy = False
                self._notify()
            if self._failures:
                await trio.sleep(min(FIRST_WAIT * 2 ** (self._failures - 1), LONGEST_WAIT))

    async def settled(self) -> None:
        """Returns when nothing is left to upload, or when the cloud fails anyway."""
        while (self._due or self._busy) and not self._failures:
            await self._changed.wait()

    async def _upload(self, subject: Subject) -> None:
        source = await self._find(subject)
        if source is None:
            await self._snapshots.drop(subject)
        elif await self._snapshots.save(subject, source):
            log.info("snapshot.uploaded", of=subject.kind, tenant=subject.tenant, name=subject.name)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
