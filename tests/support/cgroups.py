"""A tree of cgroups in a plain folder that behaves as the kernel's does, as far as ash looks."""

import errno
import shutil
from pathlib import Path

from ash.limits import cgroupfs

FILES = {
    "memory": {"memory.max": "max", "memory.events": "oom 0\noom_kill 0\n", "memory.swap.max": "0"},
    "pids": {"pids.max": "max", "pids.events": "max 0\n"},
    "cpu": {"cpu.max": "max 100000"},
}


class FakeTree:
    """Version 2 below `root`, with a /proc of a process that is in its group `path`.

    `controllers` are what the kernel has and what is handed down to that group, as systemd
    does. Use `install` to have ash see it.
    """

    def __init__(self, root: Path, path: str = "/", controllers="cpu memory pids") -> None:
        self.root = root / "cgroup"
        self.proc = root / "proc"
        self.proc.mkdir()
        self.root.mkdir()
        self._fill(self.root, controllers)
        (self.root / "cgroup.type").unlink()
        self.own = self.root
        for name in filter(None, path.split("/")):
            (self.own / "cgroup.subtree_control").write_text(controllers)
            self.own /= name
            self.make(self.own)
        self.stand_in(path)

    def install(self, monkeypatch) -> "FakeTree":
        for name in ("make", "remove", "write"):
            monkeypatch.setattr(cgroupfs, name, getattr(self, name))
        return self

    def stand_in(self, path: str) -> None:
        (self.proc / "cgroup").write_text(f"0::{path}\n")
        mount = f"31 23 0:28 / {self.root} rw - cgroup2 none rw\n"
        (self.proc / "mountinfo").write_text(mount)

    def make(self, folder: Path) -> None:
        folder.mkdir()
        self._fill(folder, (folder.parent / "cgroup.subtree_control").read_text())

    def remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def write(self, file: Path, text: str) -> None:
        match file.name:
            case "cgroup.subtree_control":
                self._divide(file.parent, text)
            case "cgroup.procs":
                self._move(text, file.parent)
            case _:
                file.write_text(text)

    def _fill(self, folder: Path, controllers: str) -> None:
        plain = {
            "cgroup.controllers": controllers,
            "cgroup.subtree_control": "",
            "cgroup.procs": "",
            "cgroup.type": "domain",
            "cgroup.events": "populated 0\nfrozen 0\n",
            "cgroup.kill": "",
        }
        for files in (plain, *(FILES[name] for name in controllers.split())):
            for name, text in files.items():
                (folder / name).write_text(text)

    def _divide(self, folder: Path, text: str) -> None:
        """No group but the root may have both processes and groups with controllers."""
        if (folder / "cgroup.type").exists() and (folder / "cgroup.procs").read_text().strip():
            raise OSError(errno.EBUSY, "Device or resource busy")
        wanted = text.replace("+", "")
        if not set(wanted.split()) <= set((folder / "cgroup.controllers").read_text().split()):
            raise OSError(errno.ENOENT, "No such file or directory")
        (folder / "cgroup.subtree_control").write_text(wanted)

    def _move(self, pid: str, to: Path) -> None:
        for procs in self.root.rglob("cgroup.procs"):
            left = [one for one in procs.read_text().split() if one != pid]
            procs.write_text("".join(f"{one}\n" for one in left))
        with (to / "cgroup.procs").open("a") as out:
            out.write(f"{pid}\n")
