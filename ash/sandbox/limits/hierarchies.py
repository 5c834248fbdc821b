"""Where the daemon's own cgroups are in the file system."""

import re
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct


class Own(Struct, frozen=True):
    """The daemon's own cgroup in each hierarchy that is mounted: `v1` by controller."""

    v1: Mapping[str, Path]
    v2: Path | None


class _Mount(Struct, frozen=True):
    root: str
    point: str
    controllers: frozenset[str] | None

    def folder(self, path: str) -> Path | None:
        """Where the cgroup `path` is seen; None if this mount shows another part of the tree."""
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
    """`controller` None stands for the hierarchy of version 2."""
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
