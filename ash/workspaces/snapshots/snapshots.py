"""Saves and restores generations of snapshots, and removes old ones."""

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

# Generations kept for each subject, so that a damaged one has two others to fall back on.
KEEP = 3

# Generations older than a week are removed, except for the newest.
KEEP_SECONDS = 7 * 86_400.0

# No upload takes a day, so an older archive without a manifest was abandoned.
ABANDONED_SECONDS = 86_400.0

_manifest = msgspec.json.Decoder(Manifest).decode


class Unusable(Exception):
    """There are generations, but all of them are damaged."""


class SnapshotSource(Struct, frozen=True):
    """What to save: the folders `tops`, each under its name, with at most `limit` bytes in all.

    `lean` leaves out folders that can be rebuilt. `about` is stored in the manifest.
    """

    tops: dict[str, Path]
    limit: int
    lean: bool
    about: Raw


class Snapshots:
    """The generations in one snapshot store.

    Packs and unpacks in the folder `scratch`, which nobody else uses and which must be on the
    same file system as the restored folders, because they are moved there by a rename.
    """

    def __init__(self, store: SnapshotStore, scratch: Path, now: Callable[[], float]) -> None:
        self._store = store
        self._scratch = scratch
        self._now = now

    async def save(self, subject: Subject, source: SnapshotSource) -> bool:
        """Uploads a new generation if anything has changed; returns whether it did.

        Raises StoreFailed, and OSError for a full disk: another try may succeed. Files that can't
        be packed are logged, because another try would fail in the same way.
        """
        last = await self._newest(subject)
        generation = _generation(self._now())
        async with self._scratch_folder(generation) as folder:
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
            done = _check_answer(subject, answer)
            if done is None:
                return False
            manifest = self._new_manifest(subject, generation, source, done.packed, last)
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
        """Makes the folder `target` from the newest generation that is not damaged.

        `target` will contain the folders `tops`, or be that folder if there is only one. Returns
        None if there is no generation. Raises StoreFailed, OSError, and Unusable if all
        generations are damaged; then there is no `target`.
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
        """The manifest of the newest generation that can be read. Raises StoreFailed."""
        return await self._newest(subject)

    async def drop(self, subject: Subject) -> None:
        """Removes all generations of the subject. Raises StoreFailed."""
        await self._remove(await self._store.under(subject.prefix))

    def _new_manifest(
        self,
        subject: Subject,
        generation: str,
        source: SnapshotSource,
        packed: Packed | None,
        last: Manifest | None,
    ) -> Manifest | None:
        """The manifest to write, or None if neither the files nor the row have changed."""
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
        """The keys of the subject's manifests, newest first."""
        stored = await self._store.under(subject.prefix)
        return [one.key for one in reversed(stored) if one.key.endswith(MANIFEST)]

    async def _read(self, subject: Subject, key: str) -> Manifest | None:
        """Reads a manifest; None, and a log line, if it is damaged or names another subject."""
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
        """Restores one generation; False, and a log line, if it is damaged."""
        async with self._scratch_folder(manifest.generation) as folder:
            archive, fresh = folder / "archive", folder / "files"
            try:
                await self._store.fetch(manifest.archive, archive)
                why = await trio.to_thread.run_sync(_mismatch, archive, manifest)
            except Missing:
                why = "its archive is missing"
            if not why:
                job = Unpack(archive=str(archive), target=str(fresh), tops=list(tops), limit=limit)
                why = _why_unfit(await run_in_worker(job))
            if why:
                log.warning(
                    "snapshot.damaged", **_names(manifest.subject), key=manifest.archive, why=why
                )
                return False
            whole = fresh if len(tops) > 1 else fresh / tops[0]
            await trio.to_thread.run_sync(_move, whole, target)
        return True

    async def _clean(self, subject: Subject) -> None:
        """Removes old generations, by count and age. If it fails, the next upload does it."""
        try:
            stored = await self._store.under(subject.prefix)
            kept = [one for one in stored if one.key.endswith(MANIFEST)][-KEEP:]
            oldest = self._now() - KEEP_SECONDS
            kept = [one for one in kept[:-1] if one.modified >= oldest] + kept[-1:]
            manifests = [await self._read(subject, one.key) for one in kept]
            named = {manifest.archive for manifest in manifests if manifest is not None}
            named |= {one.key for one in kept}
            await self._remove([one for one in stored if self._is_garbage(one, named, stored)])
        except StoreFailed as error:
            log.warning("snapshot.cleanup_failed", **_names(subject), why=str(error))

    def _is_garbage(self, one: Stored, named: set[str], stored: list[Stored]) -> bool:
        """Whether the object can go; a recent archive without a manifest may be an upload."""
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
        """Deletes manifests first, so that no manifest is ever without its archive."""
        await self._store.delete([one.key for one in stored if one.key.endswith(MANIFEST)])
        await self._store.delete([one.key for one in stored if not one.key.endswith(MANIFEST)])

    @asynccontextmanager
    async def _scratch_folder(self, name: str) -> AsyncIterator[Path]:
        folder = self._scratch / f"{name}-{uuid4()}"
        await trio.to_thread.run_sync(_make, folder)
        try:
            yield folder
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(remove_tree, folder)


def _generation(now: float) -> str:
    """A name that sorts by time, and is unique within a millisecond."""
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S%f")[:-3]
    return f"{stamp}-{uuid4().hex[:8]}"


def _names(subject: Subject) -> dict[str, str]:
    return {"of": subject.kind, "tenant": subject.tenant, "name": subject.name}


def _check_answer(subject: Subject, answer: JobDone | JobRefused | JobBroken) -> JobDone | None:
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


def _why_unfit(answer: JobDone | JobRefused | JobBroken) -> str:
    """Why the archive can't be unpacked, or "". Raises OSError if the machine is the cause."""
    if isinstance(answer, JobBroken):
        raise OSError(answer.why)
    return answer.why if isinstance(answer, JobRefused) else ""


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)


def _move(source: Path, target: Path) -> None:
    """Moves the folder, unless another caller has already made `target`."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        source.replace(target)
    except OSError:
        if not target.is_dir():
            raise
