"""The interface of a snapshot store, and the keys and manifests of the snapshots in it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from msgspec import Raw, Struct, field

# The kinds of subject; also the first part of the keys.
SubjectKind = Literal["sessions", "agents"]

MANIFEST = ".json"
ARCHIVE = ".tar.zst"


class Subject(Struct, frozen=True):
    """The owner of snapshots: a session (by its id) or an agent (by its name)."""

    kind: SubjectKind
    tenant: str
    name: str

    @property
    def prefix(self) -> str:
        return f"{self.kind}/{_part(self.tenant)}/{_part(self.name)}"

    def key(self, generation: str, ending: str) -> str:
        return f"{self.prefix}/{generation}{ending}"


class Manifest(Struct, kw_only=True):
    """Describes one generation. It is written last, and a generation without it does not count.

    A persistence format: adding a field is fine, renaming one is a migration. `archive` is the key
    of the packed files, which may belong to an earlier generation, and `size` their packed size.
    `listing` shows whether files have changed since. `about` is the subject's row in the store;
    this layer does not read it.
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


class StoreFailed(Exception):
    """The snapshot store could not be reached, or refused. The text contains no secret."""


class Missing(StoreFailed):
    """The object does not exist."""


class Stored(Struct, frozen=True):
    """A stored object: `size` in bytes, `modified` in Unix time by the store's clock."""

    key: str
    size: int
    modified: float


class SnapshotStore(Protocol):
    """Stores objects by key. Keys are parts of letters, digits and `-_=.`, joined by slashes.

    An object is there completely or not at all. All methods raise StoreFailed, and leave nothing
    incomplete when they are cancelled.
    """

    async def put(self, key: str, content: bytes | Path) -> None:
        """Stores bytes, or the content of a file; replaces an old object."""

    async def get(self, key: str) -> bytes:
        """The content of a small object. Raises Missing."""

    async def fetch(self, key: str, target: Path) -> None:
        """Writes the object to a new file. Raises Missing."""

    async def under(self, prefix: str) -> list[Stored]:
        """All objects below the prefix (one or more whole parts), at any depth, sorted by key."""

    async def delete(self, keys: Iterable[str]) -> None:
        """Deletes objects; a key that does not exist is no error."""


def _part(text: str) -> str:
    """Any text as one part of a key, without `%` and `~`, which stores escape in their own ways."""
    safe = quote(text, safe="").replace(".", "%2E").replace("~", "%7E")
    return safe.replace("%", "=")
