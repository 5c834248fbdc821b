"""Snapshots in a folder: on a network share, or in a test."""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import trio

from ash.workspaces.snapshots.snapshot_store import Missing, Stored, StoreFailed

# No part of a key begins so: what is being written is not there yet.
_UNFINISHED = "~"


class FolderStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes | Path) -> None:
        await trio.to_thread.run_sync(self._put, key, content)

    async def get(self, key: str) -> bytes:
        return await trio.to_thread.run_sync(self._get, key)

    async def fetch(self, key: str, target: Path) -> None:
        await trio.to_thread.run_sync(self._fetch, key, target)

    async def under(self, prefix: str) -> list[Stored]:
        return await trio.to_thread.run_sync(self._under, prefix)

    async def delete(self, keys: Iterable[str]) -> None:
        await trio.to_thread.run_sync(self._delete, list(keys))

    def _put(self, key: str, content: bytes | Path) -> None:
        target = self._folder / key
        with _failures():
            target.parent.mkdir(parents=True, exist_ok=True)
            unfinished = target.parent / f"{_UNFINISHED}{uuid4()}"
            try:
                if isinstance(content, Path):
                    shutil.copyfile(content, unfinished)
                else:
                    unfinished.write_bytes(content)
                unfinished.replace(target)
            finally:
                unfinished.unlink(missing_ok=True)

    def _get(self, key: str) -> bytes:
        with _failures():
            return (self._folder / key).read_bytes()

    def _fetch(self, key: str, target: Path) -> None:
        with _failures():
            shutil.copyfile(self._folder / key, target)

    def _under(self, prefix: str) -> list[Stored]:
        with _failures():
            return sorted(self._below(self._folder / prefix), key=lambda stored: stored.key)

    def _below(self, folder: Path) -> Iterator[Stored]:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if not name.startswith(_UNFINISHED):
                    with suppress(FileNotFoundError):
                        found = path.stat()
                        key = path.relative_to(self._folder).as_posix()
                        yield Stored(key, found.st_size, found.st_mtime)

    def _delete(self, keys: list[str]) -> None:
        with _failures():
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"not found: {error.strerror}") from None
    except OSError as error:
        raise StoreFailed(error.strerror or type(error).__name__) from None
