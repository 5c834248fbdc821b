"""The daemon's own cgroups, below which its sandboxes have theirs, and those of dead daemons."""

import fcntl
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from ash.limits import cgroupfs, delegation
from ash.limits.cgroupfs import Controller
from ash.limits.detect import PREFIX, CgroupSupport

# A file in the data directory that lists the cgroups of the last daemon on it. A daemon that was
# started from elsewhere had them in another place than this one.
RECORD = "cgroups"


class OwnedCgroups:
    """The daemon's own cgroup in each hierarchy. All functions block.

    Each is locked as long as the daemon lives. The kernel releases the locks however it ends.
    """

    def __init__(self, support: CgroupSupport, data_dir: Path) -> None:
        """Raises OSError."""
        name = f"{PREFIX}{_identity(data_dir)}-{uuid4().hex[:8]}"
        self.folders: dict[Controller, Path] = {p: at / name for p, at in support.parents.items()}
        self._locks: list[int] = []
        try:
            for folder in dict.fromkeys(self.folders.values()):
                self._locks.append(_claim(folder))
                if support.controllers:
                    delegation.hand_on(folder, support.controllers)
            lines = [f"{folder}\n" for folder in dict.fromkeys(self.folders.values())]
            (data_dir / RECORD).write_text("".join(lines))
        except OSError:
            self.leave()
            raise

    def leave(self) -> bool:
        """Kills all processes in them and removes them; False if that took too long."""
        gone = cgroupfs.end_groups(self.folders)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        return gone


def sweep_leftovers(support: CgroupSupport, data_dir: Path) -> list[Path]:
    """Kills and removes what dead daemons left, and returns the folders. Blocks.

    It looks where this daemon will have its cgroups and where the last one on `data_dir` had them.
    A daemon that lives holds the locks of its cgroups, so they are left alone.
    """
    found = sorted({*_recorded(data_dir), *_beside(support.parents.values())})
    # Those that can kill all processes at once come first. The others are empty then.
    found.sort(key=lambda folder: not (folder / "cgroup.kill").exists())
    return [folder for folder in found if _sweep(folder)]


def _sweep(folder: Path) -> bool:
    """Removes a cgroup that no daemon has locked; False if there is none or it is locked."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return cgroupfs.end_groups(_controllers(folder))
    finally:
        os.close(lock)


def _controllers(folder: Path) -> dict[Controller, Path]:
    """What a folder of an unknown hierarchy can be used for, by the files in it."""
    files: dict[Controller, str] = {"kill": "cgroup.kill", "pids": "pids.max"}
    found: dict[Controller, Path] = {
        p: folder for p, file in files.items() if (folder / file).exists()
    }
    return found or {"memory": folder}


def _claim(folder: Path) -> int:
    """Makes and locks a cgroup, again if another daemon's sweep removes it in between."""
    while True:
        with suppress(FileExistsError):
            cgroupfs.make(folder)
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.fstat(lock).st_ino == folder.stat().st_ino:
                return lock
        os.close(lock)


def _identity(data_dir: Path) -> str:
    """Differs for each data directory, also if containers have theirs at the same path."""
    found = data_dir.stat()
    which = f"{found.st_dev}:{found.st_ino}:{data_dir.resolve()}"
    return hashlib.sha256(which.encode()).hexdigest()[:12]


def _recorded(data_dir: Path) -> Iterable[Path]:
    with suppress(OSError):
        for line in (data_dir / RECORD).read_text().splitlines():
            if Path(line).name.startswith(PREFIX):
                yield Path(line)


def _beside(parents: Iterable[Path]) -> Iterable[Path]:
    for parent in set(parents):
        yield from parent.glob(f"{PREFIX}*")
