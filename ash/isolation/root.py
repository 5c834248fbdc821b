"""The read-only files of the system that every sandbox sees in addition to its own folders."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from ash.isolation import code

LIBRARY = "/opt/ash"

# The part of /etc that programs need for shared libraries, certificates, time zones and the names
# of ports. Private keys, which lie below /etc/ssl and /etc/pki too, are left out. So are the files
# for finding other machines, because the proxy resolves names.
_ETC = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
)

# The parts of its prefix that Python needs. The rest may be a user's files, if a virtual
# environment is a project's own folder.
_PREFIX = ("bin", "include", "lib", "lib64", "pyvenv.cfg", "share", "ssl")

# Files of /proc that reveal things about the host and that no program needs, if they exist.
_HIDDEN = (
    "/proc/cmdline",
    "/proc/iomem",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/key-users",
    "/proc/keys",
    "/proc/kmsg",
    "/proc/locks",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/sysrq-trigger",
    "/proc/timer_list",
)

_OWN_ETC = Path(__file__).parent / "etc"


class Bind(Struct, frozen=True):
    """A folder or file of the host, and its path inside the sandbox."""

    source: Path
    target: str
    writable: bool = False

    def covers(self, other: "Bind") -> bool:
        """Whether this bind already shows `other` at the same path."""
        same = self.source == Path(self.target) and other.source == Path(other.target)
        return same and other.source.is_relative_to(self.source)


class RootFilesystem(Struct, frozen=True):
    """The parts of the root. `links` and `hidden` are arguments for bubblewrap, `hidden` last."""

    binds: tuple[Bind, ...]
    links: tuple[str, ...]
    hidden: tuple[str, ...]


def make(readable: Sequence[Path], hidden: Sequence[Path]) -> RootFilesystem:
    """The root with `readable` at its host path; folders in `hidden` that it shows are empty."""
    binds: list[Bind] = []
    for bind in (*_system(), *_etc(), *_interpreter(), *_library(), *_at(readable)):
        if not any(other.covers(bind) for other in binds):
            binds.append(bind)
    return RootFilesystem(tuple(binds), tuple(_links()), tuple(_covers(binds, hidden)))


def _system() -> Iterator[Bind]:
    yield from _at([Path("/usr")])
    yield from _at(path for path in _program_folders() if path.is_dir() and not path.is_symlink())


def _links() -> Iterator[str]:
    """On most systems /bin, /lib and so on are links into /usr."""
    for path in _program_folders():
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))


def _program_folders() -> list[Path]:
    return [Path("/", name) for name in ("bin", "sbin", "lib", "lib32", "lib64")]


def _etc() -> Iterator[Bind]:
    yield from _at(path for path in (Path("/etc", name) for name in _ETC) if path.exists())
    for path in _OWN_ETC.iterdir():
        yield Bind(path, f"/etc/{path.name}")


def _interpreter() -> Iterator[Bind]:
    """This Python, which runs the bridge, with its programs and modules."""
    program = Path(sys.executable).resolve()
    named = (sys.base_prefix, sys.base_exec_prefix, sys.prefix)
    for prefix in dict.fromkeys([*(Path(name) for name in named), program.parent.parent]):
        yield from _at(path for name in _PREFIX if (path := prefix / name).exists())


def _library() -> Iterator[Bind]:
    for folder in (code.ASH, code.BRIDGE):
        yield Bind(folder, f"{LIBRARY}/{folder.name}")


def _at(paths: Iterable[Path]) -> Iterator[Bind]:
    for path in paths:
        yield Bind(path, str(path))


def _covers(binds: Sequence[Bind], hidden: Sequence[Path]) -> Iterator[str]:
    for path in hidden:
        if any(bind.covers(Bind(path, str(path))) for bind in binds):
            yield from ("--tmpfs", str(path), "--remount-ro", str(path))
    for file in _HIDDEN:
        if Path(file).exists():
            yield from ("--ro-bind", "/dev/null", file)
