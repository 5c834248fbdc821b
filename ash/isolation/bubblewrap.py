"""Wraps a program in bubblewrap: with namespaces, a root, a host user and a seccomp filter."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

from ash.isolation import code, launch, uids
from ash.isolation.isolation import GuestPaths, WrappedCommand
from ash.isolation.root import LIBRARY, Bind, RootFilesystem
from ash.isolation.uids import Uids
from ash.workspaces.workspaces import HostPaths

WORKSPACE = "/workspace"
HOME = "/home/agent"
SOCKETS = "/run/ash"

MB = 1024 * 1024
# Both take memory, which is limited. A full /tmp should be an error of the program that fills it,
# before the kernel has to kill a process.
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

# Clears the environment again before bubblewrap starts. A shell in front, as the one that joins a
# cgroup, sets PWD, and the sandbox can read the environment of its first process.
_NO_ENVIRONMENT = ("/usr/bin/env", "-i")

# The mounts that each sandbox has for itself. /dev becomes read-only: it would be unlimited memory.
_OWN = (
    *("--proc", "/proc"),
    *("--dev", "/dev"),
    *("--perms", "1777", "--size", str(SHM_MB * MB), "--tmpfs", "/dev/shm"),  # noqa: S108
    *("--remount-ro", "/dev"),
    *("--perms", "1777", "--size", str(TMP_MB * MB), "--tmpfs", "/tmp"),  # noqa: S108
)


class Bubblewrap:
    """Runs programs with own namespaces and an own host user, no capabilities, a read-only root."""

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
        """Without `users` the sandbox's host user is the daemon's."""
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
                _give_folders(paths, 0)
            return paths
        uid = self._users.take(uids.owner(paths.workspace))
        try:
            _give_folders(paths, uid)
        except BaseException:
            self._users.give_back(uid)
            raise
        return replace(paths, uid=uid)

    def release(self, paths: HostPaths) -> None:
        if self._users is not None and paths.uid is not None:
            self._users.give_back(paths.uid)

    def wrap(
        self,
        argv: Sequence[str],
        paths: HostPaths,
        env: Mapping[str, str],
        *,
        is_init: bool = False,
    ) -> WrappedCommand:
        """Gives bubblewrap its options, and the program's environment, through descriptors.

        On bubblewrap's command line, other users and the sandbox could read them. In bubblewrap's
        environment, an agent's LD_PRELOAD would be loaded on the host.
        """
        binds = [*self._root.binds, *_own(paths)]
        with _descriptors() as fds:
            options = [
                *(["--as-pid-1"] if is_init else []),
                *self._namespace_options(fds),
                *self._mount_options(binds, staged=paths.uid is not None),
            ]
            options += [word for pair in env.items() for word in ("--setenv", *pair)]
            command = [self._program, "--args", fds.holding(options), "--", *argv]
            if self._users is not None and paths.uid is not None:
                sources = fds.holding([str(bind.source) for bind in binds])
                launcher = _launcher(paths.uid, self._users.root, sources)
                return WrappedCommand([*launcher, *command], {}, fds)
            return WrappedCommand([*_NO_ENVIRONMENT, *command], {}, fds)

    def _namespace_options(self, fds: "_Descriptors") -> Iterator[str]:
        yield from _NAMESPACES
        if self._users is None:
            yield from ("--unshare-user", "--disable-userns")
        if self._seccomp is not None:
            yield from ("--seccomp", fds.holding_bytes(self._seccomp))

    def _mount_options(self, binds: Sequence[Bind], *, staged: bool) -> Iterator[str]:
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


def _give_folders(paths: HostPaths, uid: int) -> None:
    for folder in (paths.workspace, paths.home):
        uids.give(folder, uid)


def _launcher(uid: int, root: int, sources: str) -> list[str]:
    """The command of launch.py; -I and -S make Python ignore its environment and site packages."""
    return [code.PYTHON, "-I", "-S", launch.__file__, str(uid), str(root), sources, "--"]


class _Descriptors(list[int]):
    """Open descriptors of memory files; each can be read once."""

    def holding(self, words: Iterable[str]) -> str:
        """A descriptor that holds the words, separated by NULs.

        Raises ValueError for a word with a NUL, which would be read as two words.
        """
        words = list(words)
        if any("\0" in word for word in words):
            raise ValueError("a NUL can't be part of a word")
        return self.holding_bytes(b"\0".join(map(os.fsencode, words)))

    def holding_bytes(self, data: bytes) -> str:
        """A descriptor that holds the data, as text."""
        fd = os.memfd_create("ash")
        self.append(fd)
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        return str(fd)


@contextmanager
def _descriptors() -> Iterator[_Descriptors]:
    """A list for descriptors, which are closed on an error and else stay open for the caller."""
    fds = _Descriptors()
    try:
        yield fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
