"""What an isolation is given and gives back."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct, field

Level = Literal["strict", "best-effort", "none"]


class Place(Struct, frozen=True):
    """A sandbox's own folders on the host. Nothing else of the host may be written.

    `sockets` is for the Unix sockets that lead out; it can't be changed from inside.
    `uid` is the host user that the folders belong to, None where that is the daemon's own.
    """

    workspace: Path
    home: Path
    sockets: Path
    uid: int | None = None


class Inside(Struct, frozen=True):
    """Paths as the program sees them.

    `library` is the folder that contains `ash`, `python_path` the PYTHONPATH for the bridge.
    """

    workspace: str
    home: str
    library: str
    sockets: str
    python_path: str


class Wrapped(Struct):
    """A command ready to start in the workspace. Who starts it closes `fds` afterwards."""

    argv: list[str]
    env: dict[str, str]
    fds: list[int] = field(default_factory=list)


class Isolation(Protocol):
    """`missing` says in words what a better isolation has and this one lacks."""

    name: str
    missing: tuple[str, ...]

    def inside(self, place: Place) -> Inside: ...

    def settle(self, place: Place) -> Place:
        """Makes the folders belong to whoever is going to live in them. Blocks.

        What it returns is for `wrap`, and for `leave` when all processes are gone. Raises OSError.
        """

    def leave(self, place: Place) -> None: ...

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        """The command that runs `argv` with just `env` in the workspace."""
