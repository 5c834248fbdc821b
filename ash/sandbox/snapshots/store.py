"""The seam to where snapshots are kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from msgspec import Struct


class StoreFailed(Exception):
    """The snapshot store could not be reached, or refused. Its text holds no secret."""


class Missing(StoreFailed):
    """There is no such object."""


class Stored(Struct, frozen=True):
    """`size` in bytes, `modified` in Unix time by the store's clock."""

    key: str
    size: int
    modified: float


class SnapshotStore(Protocol):
    """Objects by key. Keys are parts of letters, digits and `-_=.`, joined by slashes.

    An object is there whole or not at all. Everything raises StoreFailed, and leaves nothing
    half done when it is cancelled.
    """

    async def put(self, key: str, content: bytes | Path) -> None:
        """Bytes, or what a file holds; replaces what was there."""

    async def get(self, key: str) -> bytes:
        """For what is small. Raises Missing."""

    async def fetch(self, key: str, target: Path) -> None:
        """Writes the object to a new file. Raises Missing."""

    async def under(self, prefix: str) -> list[Stored]:
        """What is below the prefix, which is whole parts, at any depth; sorted by key."""

    async def delete(self, keys: Iterable[str]) -> None:
        """One that is not there is fine."""
