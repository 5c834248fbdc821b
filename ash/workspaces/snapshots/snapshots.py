"""Generations in a snapshot store: saved, restored, cleaned away."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import msgspec
import trio
from msgspec import Raw, Struct

from ash.log import get_logger
from ash.workspaces.copy import remove_tree
from ash.workspaces.snapshots.jobs import JobBroken, JobDone, JobRefused, Pack, Unpack
from ash.workspaces.snapshots.pack import Packed
from ash.workspaces.snapshots.snapshot_store import (
    ARCHIVE,
    MANIFEST,
    Manifest,
    Missing,
    SnapshotStore,
    Stored,
    StoreFailed,
    Subject,
)
from ash.workspaces.snapshots.worker_process import run_in_worker

log = get_logger()

# One that turns out to be damaged has two others behind it …
KEEP = 3

# … unless they are older than this, a week: the newest is kept whatever its age.
KEEP_SECONDS = 7 * 86_400.0

# No upload takes a day: an archive that no manifest names by then was given up.
ABANDONED_SECONDS = 86_400.0

_manifest = msgspec.json.Decoder(Manifest).decode


class Unusable(Exception):
    """There are generations, and none of them can be restored."""


class SnapshotSource(Struct, frozen=True):
    """What is to be saved: the folders `tops`, each under its name, `limit` bytes in all at most.

    A lean one leaves out what is large and can be made again. `about` is kept with it.
    """

    tops: dict[str, Path]
    limit: int
    lean: bool
    about: Raw


class Snapshots:
    """Packs and unpacks in `scratch`, which is its own and on the disk of what it restores."""

    def __init__(self, store: SnapshotStore, scratch: Path, now: Callable[[], float]) -> None:
        self._store = store
        self._scratch = scratch
        self._now = now

    async def save(self, subject: Subject, source: SnapshotSource) -> bool:
        """Uploads what has changed; the manifest last. Whether there was anything to upload.

        Raises StoreFailed, and OSError for a disk that is full: both are worth another try.
        What can't be packed, and never will be as it is, is logged.
        """
        last = await self._newest(subject)
        generation = _generation(self._now())
        async with self._place(generation) as folder:
            archive = folder / "archive"
            answer = await run_in_worker(
                Pack(
                    tops={name: str(path) for name, path in source.tops.items()},
                    target=str(archive),
                    lean=source.lean,
                    limit=source.limit,
                    known=last.listing if last else None,
                )
            )
            done = _done(subject, answer)
            if done is None:
                return False
            manifest = self._described(subject, generation, source, done.packed, last)
            if manifest is None:
                return False
            if done.packed is not None:
                await self._store.put(manifest.archive, archive)
        await self._store.put(subject.key(generation, MANIFEST), msgspec.json.encode(manifest))
        await self._clean(subject)
        return True

    async def restore(
        self, subject: Subject, target: Path, tops: tuple[str, ...], limit: int
    ) -> Manifest | None:
        """Makes the folder `target` from the newest generation that is whole, or not at all.

        In it are the `tops` by their names; if there is but one, the target is that. None if
        there is no generation. Raises StoreFailed, Unusable if all are damaged, OSError.
        """
        manifests = await self._manifests(subject)
        for key in manifests:
            manifest = await self._read(subject, key)
            if manifest is not None and await self._restored(manifest, target, tops, limit):
                return manifest
        if manifests:
            raise Unusable
        return None

    async def newest(self, subject: Subject) -> Manifest | None:
        """Raises StoreFailed."""
        return await self._newest(subject)

    async def drop(self, subject: Subject) -> None:
        """Removes all generations, their manifests first. Raises StoreFailed."""
        await self._remove(await self._store.under(subject.prefix))

    def _described(
        self,
        subject: Subject,
        generation: str,
        source: SnapshotSource,
        packed: Packed | None,
        last: Manifest | None,
    ) -> Manifest | None:
        """None if neither the files nor the row have changed."""
        if packed is not None:
            return Manifest(
                subject=subject,
                generation=generation,
                made_at=self._now(),
                archive=subject.key(generation, ARCHIVE),
                sha256=packed.sha256,
                size=packed.size,
                listing=packed.listing,
                about=source.about,
            )
        if last is None or bytes(last.about) == bytes(source.about):
            return None
        return msgspec.structs.replace(
            last, generation=generation, made_at=self._now(), about=source.about
        )

    async def _newest(self, subject: Subject) -> Manifest | None:
        for key in await self._manifests(subject):
            if (manifest := await self._read(subject, key)) is not None:
                return manifest
        return None

    async def _manifests(self, subject: Subject) -> list[str]:
        """Their keys, newest first."""
        stored = await self._store.under(subject.prefix)
        return [one.key for one in reversed(stored) if one.key.endswith(MANIFEST)]

    async def _read(self, subject: Subject, key: str) -> Manifest | None:
        """None for one that can't be read, or that says it is of something else."""
        try:
            manifest = _manifest(await self._store.get(key))
        except msgspec.DecodeError as error:
            log.warning("snapshot.damaged", **_names(subject), key=key, why=str(error))
            return None
        if manifest.subject != subject or not manifest.archive.startswith(f"{subject.prefix}/"):
            log.warning(
                "snapshot.damaged", **_names(subject), key=key, why="it is of something else"
            )
            return None
        return manifest

    async def _restored(
        self, manifest: Manifest, target: Path, tops: tuple[str, ...], limit: int
    ) -> bool:
        """False, and a line in the log, if it is damaged."""
        async with self._place(manifest.generation) as folder:
            archive, fresh = folder / "archive", folder / "files"
            try:
                await self._store.fetch(manifest.archive, archive)
                why = await trio.to_thread.run_sync(_mismatch, archive, manifest)
            except Missing:
                why = "its archive is missing"
            if not why:
                job = Unpack(archive=str(archive), target=str(fresh), tops=list(tops), limit=limit)
                why = _trouble(await run_in_worker(job))
            if why:
                log.warning(
                    "snapshot.damaged", **_names(manifest.subject), key=manifest.archive, why=why
                )
                return False
            whole = fresh if len(tops) > 1 else fresh / tops[0]
            await trio.to_thread.run_sync(_move, whole, target)
        return True

    async def _clean(self, subject: Subject) -> None:
        """By count and age. What goes wrong here is put right by the next upload."""
        try:
            stored = await self._store.under(subject.prefix)
            kept = [one for one in stored if one.key.endswith(MANIFEST)][-KEEP:]
            oldest = self._now() - KEEP_SECONDS
            kept = [one for one in kept[:-1] if one.modified >= oldest] + kept[-1:]
            manifests = [await self._read(subject, one.key) for one in kept]
            named = {manifest.archive for manifest in manifests if manifest is not None}
            named |= {one.key for one in kept}
            await self._remove([one for one in stored if self._is_due(one, named, stored)])
        except StoreFailed as error:
            log.warning("snapshot.cleanup_failed", **_names(subject), why=str(error))

    def _is_due(self, one: Stored, named: set[str], stored: list[Stored]) -> bool:
        """An archive without a manifest may still be on its way."""
        if one.key in named:
            return False
        has_manifest = any(
            other.key == one.key.removesuffix(ARCHIVE) + MANIFEST for other in stored
        )
        return (
            one.key.endswith(MANIFEST)
            or has_manifest
            or one.modified < self._now() - ABANDONED_SECONDS
        )

    async def _remove(self, stored: list[Stored]) -> None:
        """Manifests first: one that is there has its archive."""
        await self._store.delete([one.key for one in stored if one.key.endswith(MANIFEST)])
        await self._store.delete([one.key for one in stored if not one.key.endswith(MANIFEST)])

    @asynccontextmanager
    async def _place(self, name: str) -> AsyncIterator[Path]:
        folder = self._scratch / f"{name}-{uuid4()}"
        await trio.to_thread.run_sync(_make, folder)
        try:
            yield folder
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(remove_tree, folder)


def _generation(now: float) -> str:
    """Sorts by time; two of one millisecond are told apart."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}-{uuid4().hex[:8]}"


def _names(subject: Subject) -> dict[str, str]:
    return {"of": subject.kind, "tenant": subject.tenant, "name": subject.name}


def _done(subject: Subject, answer: JobDone | JobRefused | JobBroken) -> JobDone | None:
    if isinstance(answer, JobBroken):
        raise OSError(answer.why)
    if isinstance(answer, JobRefused):
        log.warning("snapshot.refused", **_names(subject), why=answer.why)
        return None
    if answer.packed is not None and answer.packed.skipped:
        log.warning("snapshot.files_skipped", **_names(subject), files=answer.packed.skipped)
    return answer


def _mismatch(archive: Path, manifest: Manifest) -> str:
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if found == manifest.sha256 else "its checksum is another"


def _trouble(answer: JobDone | JobRefused | JobBroken) -> str:
    """Raises OSError for what is not the archive's fault."""
    if isinstance(answer, JobBroken):
        raise OSError(answer.why)
    return answer.why if isinstance(answer, JobRefused) else ""


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)


def _move(source: Path, target: Path) -> None:
    """One that is there stays: another who wanted it has been faster."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        if not target.is_dir():
            raise
