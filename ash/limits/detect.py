"""Finds out by trying which limits this machine can enforce."""

import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import uuid4

from msgspec import Struct

from ash.limits import cgroupfs, delegation
from ash.limits.amounts import Limits
from ash.limits.cgroup_versions import V1, V2, CgroupVersion
from ash.limits.cgroupfs import Controller, end_groups
from ash.limits.resource_group import joining_prefix


class Own(Struct, frozen=True):
    """The daemon's own cgroups: `v1` has one for each mounted controller."""

    v1: Mapping[str, Path]
    v2: Path | None


class _Mount(Struct, frozen=True):
    root: str
    point: str
    controllers: frozenset[str] | None

    def folder(self, path: str) -> Path | None:
        """The folder of the cgroup `path`; None if this mount shows another part of the tree."""
        root = self.root.rstrip("/")
        if path != root and not path.startswith(f"{root}/"):
            return None
        return Path(self.point + path.removeprefix(root))


def own_cgroups(cgroup: str, mountinfo: str) -> Own:
    """From the texts of /proc/self/cgroup and /proc/self/mountinfo, see cgroups(7)."""
    mounts = [mount for line in mountinfo.splitlines() if (mount := _mount(line))]
    v1: dict[str, Path] = {}
    v2 = None
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        if not names:
            v2 = _find(mounts, None, path)
        for name in filter(None, names.split(",")):
            if folder := _find(mounts, name, path):
                v1[name] = folder
    return Own(v1, v2)


def _find(mounts: list[_Mount], controller: str | None, path: str) -> Path | None:
    """The folder of `path` for a controller; None stands for version 2."""
    for mount in mounts:
        named = mount.controllers
        fits = named is None if controller is None else named is not None and controller in named
        if fits and (folder := mount.folder(path)):
            return folder
    return None


def _mount(line: str) -> _Mount | None:
    """`id parent dev root point options … - type source superoptions`, see proc(5)."""
    before, _, after = line.partition(" - ")
    root, point = (_unescape(word) for word in before.split()[3:5])
    kind, _, options = after.split(maxsplit=2)
    match kind:
        case "cgroup":
            return _Mount(root, point, frozenset(options.split(",")))
        case "cgroup2":
            return _Mount(root, point, None)
    return None


def _unescape(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


# The names of our groups begin with this. All others are left alone.
PREFIX = "ash-"

# What the user is told about each controller that is missing.
_WITHOUT: Mapping[Controller, str] = {
    "memory": "memory is limited for each process only",
    "pids": "processes are limited for each user only, and not for root",
    "cpu": "CPU is not limited",
}


class CgroupSupport(Struct, frozen=True):
    """The cgroups that limits can be built on: the daemon's own for each controller that works.

    `missing` says in words what can't be limited. `controllers` have to be enabled for the groups
    below, which only version 2 requires.
    """

    name: str
    version: CgroupVersion
    parents: dict[Controller, Path]
    controllers: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def detect(proc: Path = Path("/proc/self"), *, systemd: bool = True) -> CgroupSupport:
    """The best support that this machine has. Blocks.

    Under version 2 it may move this process, and others of its group, to a leaf of a delegated
    group, and ask systemd for such a group.
    """
    own = _own(proc)
    # Both may be mounted. Version 2 then has no controllers.
    if "memory" in own.v1:
        return _detect_v1(own)
    if own.v2:
        return _detect_v2(proc, systemd=systemd)
    return _rlimits("there are no cgroups here")


def _detect_v1(own: Own) -> CgroupSupport:
    parents: dict[Controller, Path] = {
        controller: own.v1[controller] for controller in _WITHOUT if controller in own.v1
    }
    if own.v2:
        parents["kill"] = own.v2
    return _tried(V1(), parents, ())


def _detect_v2(proc: Path, *, systemd: bool) -> CgroupSupport:
    base = _base(proc)
    if base is None and systemd and delegation.ask_systemd():
        base = _base(proc)
    if base is None:
        return _rlimits(
            f"the cgroup {_own(proc).v2} is not delegated to the daemon (set Delegate=yes in its"
            " unit, or start it by systemd-run --scope -p Delegate=yes)"
        )
    try:
        controllers = delegation.divide(base)
    except OSError as error:
        return _rlimits(f"the cgroup {base} can't be divided: {error.strerror}")
    parents: dict[Controller, Path] = {
        controller: base for controller in _WITHOUT if controller in controllers
    }
    return _tried(V2(), {**parents, "kill": base}, controllers)


def _tried(
    version: CgroupVersion, parents: dict[Controller, Path], controllers: tuple[str, ...]
) -> CgroupSupport:
    """The support that is left after a group was made below `parents`, entered and removed."""
    name = f"try-ash-{uuid4().hex[:8]}"
    probe = {controller: parent / name for controller, parent in parents.items()}
    missing: list[str] = []
    try:
        for controller, folder in list(probe.items()):
            if why := _why_not(version, controller, folder):
                missing.append(f"there is no cgroup for {controller} in {folder.parent}: {why}")
                del probe[controller]
        if refusal := _refusal(probe):
            return _rlimits(refusal)
        if "memory" in probe and _swaps_unlimited(version, probe["memory"]):
            missing.append("swap is not limited: the kernel has no counter for it")
    finally:
        end_groups({controller: parent / name for controller, parent in parents.items()})
    works = {controller: parents[controller] for controller in probe}
    return _support(version, works, controllers, missing)


def _support(
    version: CgroupVersion,
    works: dict[Controller, Path],
    controllers: tuple[str, ...],
    missing: Sequence[str],
) -> CgroupSupport:
    lacks = [text for controller, text in _WITHOUT.items() if controller not in works]
    name = "rlimits" if len(lacks) == len(_WITHOUT) else version.name
    return CgroupSupport(name, version, works, controllers, (*missing, *lacks))


def _rlimits(reason: str) -> CgroupSupport:
    """Without cgroups, only `ulimit` is left."""
    return _support(V2(), {}, (), [reason])


def _why_not(version: CgroupVersion, controller: Controller, folder: Path) -> str | None:
    """Why the folder can't be made, or which file of the controller is missing."""
    needed = [
        s.file for s in version.settings(Limits()) if s.controller == controller and not s.optional
    ]
    try:
        # Two controllers may share a hierarchy.
        if not folder.exists():
            cgroupfs.make(folder)
        for file in needed or ["cgroup.events"]:
            (folder / file).stat()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _refusal(probe: Mapping[Controller, Path]) -> str | None:
    """Why a process can't enter the groups; None if it can."""
    prefix = joining_prefix(probe, Limits())
    done = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    if done.returncode == 0:
        return None
    return f"a process can't enter a cgroup: {done.stderr.decode(errors='replace').strip()}"


def _swaps_unlimited(version: CgroupVersion, memory: Path) -> bool:
    """Whether the kernel can swap but has no limit for it."""
    return not (memory / version.swap_file).exists() and Path("/proc/swaps").exists()


def _base(proc: Path) -> Path | None:
    own = _own(proc).v2
    path = next(line[3:] for line in _cgroup(proc).splitlines() if line.startswith("0::"))
    return delegation.delegated(own, path) if own else None


def _own(proc: Path) -> Own:
    return own_cgroups(_cgroup(proc), (proc / "mountinfo").read_text())


def _cgroup(proc: Path) -> str:
    return (proc / "cgroup").read_text()
