"""Uploads, in the background, snapshots of what has changed."""

from collections.abc import Awaitable, Callable

import trio

from ash.log import get_logger
from ash.workspaces.snapshots.snapshot_store import StoreFailed, Subject
from ash.workspaces.snapshots.snapshots import Snapshots, SnapshotSource

log = get_logger()

# The queue holds names, a few MB at most. The next start of the daemon finds those that don't fit.
QUEUE = 10_000

# The pause after a failed upload, doubled with each further failure.
FIRST_WAIT = 5.0
LONGEST_WAIT = 300.0


class Uploader:
    """Uploads one subject at a time, since packing takes a core and uploading all the bandwidth."""

    def __init__(
        self, snapshots: Snapshots, find: Callable[[Subject], Awaitable[SnapshotSource | None]]
    ) -> None:
        """`find` gives what to upload of a subject; None means to remove its snapshots."""
        self._snapshots = snapshots
        self._find = find
        self._due: dict[Subject, None] = {}
        self._changed = trio.Event()
        self._busy = False
        self._failures = 0

    def add(self, subject: Subject) -> None:
        """Queues a subject that has changed. Never waits."""
        if len(self._due) >= QUEUE and subject not in self._due:
            log.warning(
                "snapshot.skipped", of=subject.kind, tenant=subject.tenant, name=subject.name
            )
            return
        self._due[subject] = None
        self._notify()

    async def run(self) -> None:
        """Uploads until cancelled. After a failure the subject is queued again."""
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
        """Returns when nothing is left to upload, or when uploads are failing."""
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
