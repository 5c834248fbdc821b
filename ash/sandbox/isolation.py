"""What keeps agent code apart from the host: how a program is wrapped, and how well."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from msgspec import Struct, field

import ash
import bridge
from ash.errors import StartError

Level = Literal["strict", "best-effort", "none"]

WORKSPACE = "/workspace"
HOME = "/home/agent"
LIBRARY = "/opt/ash"

# A namespace is tried at start by running this: it must be everywhere and do nothing.
PROBE = ["/usr/bin/true"]


class Place(Struct, frozen=True):
    """A sandbox's own folders on the host. Nothing else of the host may be written."""

    workspace: Path
    home: Path


class Inside(Struct, frozen=True):
    """Where the program finds its folders and the bridge's code."""

    workspace: str
    home: str
    library: str


class Wrapped(Struct):
    """A command ready to start in the workspace. Who starts it closes `fds` afterwards."""

    argv: list[str]
    env: dict[str, str]
    fds: list[int] = field(default_factory=list)


class Isolation(Protocol):
    """`missing` says in words what a better isolation lacks here."""

    name: str
    missing: tuple[str, ...]

    def inside(self, place: Place) -> Inside: ...

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        """The command that runs `argv` with just `env` in the workspace."""


class Bare:
    """No isolation: the program runs as the daemon does. For development only."""

    name = "none"

    def __init__(self, missing: tuple[str, ...] = ()) -> None:
        self.missing = missing

    def inside(self, place: Place) -> Inside:
        library = Path(ash.__file__).parent.parent
        return Inside(str(place.workspace), str(place.home), str(library))

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        return Wrapped(list(argv), dict(env))


class Bubblewrap:
    """Namespaces of its own, a read-only minimal root, no capabilities, a non-root uid."""

    name = "bubblewrap"
    missing: tuple[str, ...] = ()

    def __init__(self, program: str, readable: Sequence[Path] = ()) -> None:
        """`readable` are folders that are there in every sandbox, read-only."""
        self._program = program
        self._shared = [word for path in readable for word in _read_only(path)]

    def inside(self, place: Place) -> Inside:
        return Inside(WORKSPACE, HOME, LIBRARY)

    def wrap(self, argv: Sequence[str], place: Place, env: Mapping[str, str]) -> Wrapped:
        """The environment goes in by a descriptor.

        On the command line others would see it in `ps`; as bwrap's own environment its
        LD_PRELOAD would be loaded on the host.
        """
        own = ["--bind", str(place.workspace), WORKSPACE, "--bind", str(place.home), HOME]
        settings = [word for pair in env.items() for word in ("--setenv", *pair)]
        fd = _readable("\0".join(settings).encode())
        options = [
            *_NAMESPACES,
            *_root(),
            *self._shared,
            *own,
            "--chdir",
            WORKSPACE,
            "--args",
            str(fd),
        ]
        return Wrapped([self._program, *options, "--", *argv], {}, [fd])


def _readable(data: bytes) -> int:
    """A descriptor from which `data` can be read once."""
    fd = os.memfd_create("ash")
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


_NAMESPACES = [
    "--unshare-user",
    "--disable-userns",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--hostname",
    "ash",
    "--uid",
    "1000",
    "--gid",
    "1000",
    "--cap-drop",
    "ALL",
    "--new-session",
    "--die-with-parent",
]

# What resolves names, verifies certificates, links programs and tells the time.
_ETC = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki",
    "protocols",
    "resolv.conf",
    "services",
    "ssl",
    "timezone",
]


def _root() -> list[str]:
    """The read-only part: system, interpreter, the bridge's code."""
    args = _read_only(Path("/usr"))
    for name in ("bin", "sbin", "lib", "lib32", "lib64"):
        path = Path("/", name)
        if path.is_symlink():
            args += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            args += _read_only(path)
    for name in _ETC:
        args += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    for path in _interpreter():
        args += _read_only(path)
    for package in (ash, bridge):
        folder = Path(package.__file__ or "").parent
        args += ["--ro-bind", str(folder), f"{LIBRARY}/{folder.name}"]
    args += ["--ro-bind", str(_ACCOUNTS / "passwd"), "/etc/passwd"]
    args += ["--ro-bind", str(_ACCOUNTS / "group"), "/etc/group"]
    return [*args, "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - its own


def _read_only(path: Path) -> list[str]:
    return ["--ro-bind", str(path), str(path)]


_ACCOUNTS = Path(__file__).parent / "etc"


def _interpreter() -> list[Path]:
    """The prefixes of this Python that `/usr` doesn't cover."""
    prefixes = dict.fromkeys(Path(prefix) for prefix in (sys.base_prefix, sys.prefix))
    return [path for path in prefixes if not path.is_relative_to("/usr")]


def detect(level: Level, readable: Sequence[Path] = ()) -> Isolation:
    """The best isolation there is. Blocks: it tries. Raises StartError if `strict` can't be had."""
    if level == "none":
        return Bare()
    reason = _why_not()
    if reason is None:
        return Bubblewrap(_program(), readable)
    if level == "strict":
        raise StartError(f"isolation is strict, but {reason}. Or set ASH_ISOLATION=best-effort.")
    return Bare(missing=(reason,))


def _program() -> str:
    return shutil.which("bwrap") or "bwrap"


def _why_not() -> str | None:
    """Tries the namespaces for real: what a kernel or container forbids shows only then."""
    probe = [_program(), *_NAMESPACES, *_root(), "--", *PROBE]
    try:
        done = subprocess.run(probe, capture_output=True, timeout=10, check=False, env=os.environ)
    except FileNotFoundError:
        return "bubblewrap is not installed (apt-get install bubblewrap)"
    except subprocess.TimeoutExpired:
        return "bubblewrap does not answer"
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"bubblewrap does not work here: {said[-1] if said else done.returncode}"
