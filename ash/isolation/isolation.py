"""What an isolation is given and gives back."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from ash.isolation import code
from ash.workspaces.workspaces import HostPaths

IsolationLevel = Literal["strict", "best-effort", "none"]


class GuestPaths(Struct, frozen=True):
    """Paths as the program sees them.

    `library` is the folder that contains `ash`, `python_path` the PYTHONPATH for the bridge.
    """

    workspace: str
    home: str
    library: str
    sockets: str
    python_path: str


class WrappedCommand(Struct):
    """A command ready to start in the workspace. Who starts it closes `fds` afterwards."""

    argv: list[str]
    env: dict[str, str]
    fds: list[int] = field(default_factory=list)


class Isolation(Protocol):
    """`missing` says in words what a better isolation has and this one lacks."""

    name: str
    missing: tuple[str, ...]

    def inside(self, paths: HostPaths) -> GuestPaths: ...

    def acquire(self, paths: HostPaths) -> HostPaths:
        """Makes the folders belong to whoever is going to live in them. Blocks.

        What it returns is for `wrap`, and for `release` when all processes are gone. Raises
        OSError.
        """

    def release(self, paths: HostPaths) -> None: ...

    def wrap(self, argv: Sequence[str], paths: HostPaths, env: Mapping[str, str]) -> WrappedCommand:
        """The command that runs `argv` with just `env` in the workspace."""


class Bare:
    """The program runs as the daemon does. For development only."""

    name = "none"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing

    def inside(self, paths: HostPaths) -> GuestPaths:
        return GuestPaths(
            str(paths.workspace),
            str(paths.home),
            str(code.ASH.parent),
            str(paths.sockets),
            python_path=code.PYTHON_PATH,
        )

    def acquire(self, paths: HostPaths) -> HostPaths:
        return paths

    def release(self, paths: HostPaths) -> None:
        pass

    def wrap(self, argv: Sequence[str], paths: HostPaths, env: Mapping[str, str]) -> WrappedCommand:
        return WrappedCommand(list(argv), dict(env))
