"""How a program is wrapped: namespaces, root, user, filter."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from ash.isolation import launch, uids
from ash.isolation.isolation import GuestPaths, WrappedCommand
from ash.isolation.root import LIBRARY, Bind, RootFilesystem
from ash.isolation.uids import Uids
from ash.workspaces.workspaces import HostPaths

WORKSPACE = "/workspace"
HOME = "/home/agent"
SOCKETS = "/run/ash"

MB = 1024 * 1024
# Both are memory, which is limited: a full /tmp is to say so before the kernel has to end a
# process for it.
TMP_MB = 512
SHM_MB = 256

_NAMESPACES = (
    *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup", "--unshare-net"),
    *("--hostname", "ash"),
    *("--uid", str(launch.AGENT), "--gid", str(launch.AGENT)),
    *("--cap-drop", "ALL"),
    "--new-session",
    "--die-with-parent",
)

# A shell in front of it would add the name of the folder, and the sandbox can see the environment
# of its first process.
_NO_ENVIRONMENT = ("/usr/bin/env", "-i")

# What a sandbox has for itself. bubblewrap's /dev alone would hold as much as is written to it.
_OWN = (
    *("--proc", "/proc"),
    *("--dev", "/dev"),
    *("--perms", "1777", "--size", str(SHM_MB * MB), "--tmpfs", "/dev/shm"),  # noqa: S108
    *("--remount-ro", "/dev"),
    *("--perms", "1777", "--size", str(TMP_MB * MB), "--tmpfs", "/tmp"),  # noqa: S108
)


class Bubblewrap:
    """Namespaces of its own, a read-only minimal root, no capabilities, a user of its own."""

    name = "bubblewrap"

    def __init__(
        self,
        program: str,
        root: RootFilesystem,
        *,
        users: Uids | None,
        seccomp: bytes | None,
        missing: tuple[str, ...] = (),
    ) -> None:
        """Without `users` it is the daemon's user outside."""
        self.missing = missing
        self._program = program
        self._root = root
        self._users = users
        self._seccomp = seccomp

    def inside(self, paths: HostPaths) -> GuestPaths:
        return GuestPaths(WORKSPACE, HOME, LIBRARY, SOCKETS, python_path=LIBRARY)

    def acquire(self, paths: HostPaths) -> HostPaths:
        if self._users is None:
            if os.geteuid() == 0:
                _give(paths, 0)
            return paths
        uid = self._users.take(uids.owner(paths.workspace))
        try:
            _give(paths, uid)
        except BaseException:
            self._users.give_back(uid)
            raise
        return replace(paths, uid=uid)

    def release(self, paths: HostPaths) -> None:
        if self._users is not None and paths.uid is not None:
            self._users.give_back(paths.uid)

    def wrap(self, argv: Sequence[str], paths: HostPaths, env: Mapping[str, str]) -> WrappedCommand:
        """All that is said to bubblewrap goes in by descriptors.

        On its command line others, and the sandbox itself, would see it in `ps`; in its own
        environment a LD_PRELOAD would be loaded on the host.
        """
        binds = [*self._root.binds, *_own(paths)]
        with _descriptors() as fds:
            options = [*self._walls(fds), *self._files(binds, staged=paths.uid is not None)]
            options += [word for pair in env.items() for word in ("--setenv", *pair)]
            command = [self._program, "--args", fds.holding(options), "--", *argv]
            if self._users is not None and paths.uid is not None:
                sources = fds.holding([str(bind.source) for bind in binds])
                launcher = _launcher(paths.uid, self._users.root, sources)
                return WrappedCommand([*launcher, *command], {}, fds)
            return WrappedCommand([*_NO_ENVIRONMENT, *command], {}, fds)

    def _walls(self, fds: "_Descriptors") -> Iterator[str]:
        yield from _NAMESPACES
        if self._users is None:
            yield from ("--unshare-user", "--disable-userns")
        if self._seccomp is not None:
            yield from ("--seccomp", fds.holding_bytes(self._seccomp))

    def _files(self, binds: Sequence[Bind], *, staged: bool) -> Iterator[str]:
        yield from _OWN
        for number, bind in enumerate(binds):
            source = f"{launch.STAGE}/{number}" if staged else str(bind.source)
            yield from ("--bind" if bind.writable else "--ro-bind", source, bind.target)
        yield from self._root.links
        yield from self._root.hidden
        yield from ("--remount-ro", "/", "--chdir", WORKSPACE)


def _own(paths: HostPaths) -> Iterator[Bind]:
    yield Bind(paths.workspace, WORKSPACE, writable=True)
    yield Bind(paths.home, HOME, writable=True)
    yield Bind(paths.sockets, SOCKETS)


def _give(paths: HostPaths, uid: int) -> None:
    for folder in (paths.workspace, paths.home):
        uids.give(folder, uid)


def _launcher(uid: int, root: int, sources: str) -> list[str]:
    """-I and -S: nothing but the standard library, whatever the environment says."""
    return [sys.executable, "-I", "-S", launch.__file__, str(uid), str(root), sources, "--"]


class _Descriptors(list[int]):
    """Each can be read once."""

    def holding(self, words: Iterable[str]) -> str:
        """Raises ValueError for a word with a NUL, behind which it would be read as another."""
        words = list(words)
        if any("\0" in word for word in words):
            raise ValueError("a NUL can't be part of a word")
        return self.holding_bytes(b"\0".join(map(os.fsencode, words)))

    def holding_bytes(self, data: bytes) -> str:
        """The descriptor's number."""
        fd = os.memfd_create("ash")
        self.append(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return str(fd)


@contextmanager
def _descriptors() -> Iterator[_Descriptors]:
    """They stay open for whom they are returned to; an error closes them."""
    fds = _Descriptors()
    try:
        yield fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
