"""No isolation at all."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import ash
from ash.sandbox.isolation.place import GuestPaths, HostPaths, WrappedCommand


class Bare:
    """The program runs as the daemon does. For development only."""

    name = "none"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing

    def inside(self, paths: HostPaths) -> GuestPaths:
        library = Path(ash.__file__).parent.parent
        return GuestPaths(str(paths.workspace), str(paths.home), str(library), str(paths.sockets))

    def acquire(self, paths: HostPaths) -> HostPaths:
        return paths

    def release(self, paths: HostPaths) -> None:
        pass

    def wrap(self, argv: Sequence[str], paths: HostPaths, env: Mapping[str, str]) -> WrappedCommand:
        return WrappedCommand(list(argv), dict(env))
