"""How a generation is described, and under which names it is kept."""

from typing import Literal
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
