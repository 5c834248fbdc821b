"""The interface of an isolation, and `Bare`, the one that isolates nothing."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct, field

from ash.isolation import code
from ash.workspaces.workspaces import HostPaths

IsolationLevel = Literal["strict", "best-effort", "none"]


class GuestPaths(Struct, frozen=True):
    """The paths of a sandbox as its programs see them.

    `library` is the folder that contains `ash`, `python_path` the PYTHONPATH for the bridge.
    """

    workspace: str
    home: str
    library: str
    sockets: str
    python_path: str


class WrappedCommand(Struct):
    """A command that can be started in the workspace; the caller closes `fds` after that."""

    argv: list[str]
    env: dict[str, str]
    fds: list[int] = field(default_factory=list)


class Isolation(Protocol):
    """A way to run programs apart from the host. `missing` says in words what this one lacks."""

    name: str
    missing: tuple[str, ...]

    def inside(self, paths: HostPaths) -> GuestPaths: ...

    def acquire(self, paths: HostPaths) -> HostPaths:
        """Gives the folders to the host user of a sandbox, and reserves that user. Blocks.

        Pass the returned paths to `wrap`, and to `release` once all processes have exited.
        Raises OSError.
        """

    def release(self, paths: HostPaths) -> None: ...

    def wrap(
        self,
        argv: Sequence[str],
        paths: HostPaths,
        env: Mapping[str, str],
        *,
        is_init: bool = False,
    ) -> WrappedCommand:
        """The command that runs `argv` in the workspace, with `env` as its whole environment.

        With `is_init` it becomes process 1 if it gets process numbers of its own. Then signals
        from inside can't stop or kill it, and it has to reap orphans.
        """


class Bare:
    """Runs the program as the daemon's user, without isolation. For development only."""

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

    def wrap(
        self,
        argv: Sequence[str],
        paths: HostPaths,
        env: Mapping[str, str],
        *,
        is_init: bool = False,
    ) -> WrappedCommand:
        return WrappedCommand(list(argv), dict(env))
