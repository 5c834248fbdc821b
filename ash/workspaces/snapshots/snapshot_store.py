"""The seam to where snapshots are kept."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from msgspec import Raw, Struct, field

# Of what kind a snapshot is; also the first part of its keys.
SubjectKind = Literal["sessions", "agents"]

MANIFEST = ".json"
ARCHIVE = ".tar.zst"


class Subject(Struct, frozen=True):
    """What generations are of: a session by its id, an agent by its name."""

    kind: SubjectKind
    tenant: str
    name: str

    @property
    def prefix(self) -> str:
        return f"{self.kind}/{_part(self.tenant)}/{_part(self.name)}"

    def key(self, generation: str, ending: str) -> str:
        return f"{self.prefix}/{generation}{ending}"


class Manifest(Struct, kw_only=True):
    """Only with it a generation counts, so it is written last.

    A persistence format: adding is fine, renaming is a migration. `archive` is the key of the
    packed files, which may be an earlier generation's; `size` theirs as packed. `listing` tells
    whether files have changed. `about` is the row of what it is of, and not this layer's.
    """

    format: int = 1
    subject: Subject
    generation: str
    made_at: float
    archive: str
    sha256: str
    size: int
    listing: str
    about: Raw = field(default_factory=lambda: Raw(b"null"))


def _part(text: str) -> str:
    """Any text as one part of a key. Stores write `%` and `~` in other ways than we do."""
    safe = quote(text, safe="").replace(".", "%2E").replace("~", "%7E")
    return safe.replace("%", "=")


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
