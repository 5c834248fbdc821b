"""All cages of a daemon."""

import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from uuid import uuid4

import trio

from ash.limits import cgroupfs, delegation
from ash.limits.amounts import Limits
from ash.limits.cgroupfs import Controller
from ash.limits.detect import PREFIX, CgroupSupport, detect
from ash.limits.resource_group import ResourceGroup, make
from ash.log import get_logger

# In the data directory: where its last daemon had its groups. One that was started elsewhere
# had others than this one has.
RECORD = "cgroups"


class OwnedCgroups:
    """The daemon's own group in each hierarchy, below which its cages are.

    Each is locked as long as the daemon lives; the kernel gives the locks back however it ends.
    All of this blocks.
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
        """Kills and removes all of it; False if something withstood."""
        gone = cgroupfs.end_groups(self.folders)
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        return gone


def sweep_leftovers(support: CgroupSupport, data_dir: Path) -> list[Path]:
    """Kills and removes what dead daemons left; tells what was there. Blocks.

    Looks where this daemon's groups are going to be and where the last one on `data_dir` had
    its own. A daemon that lives holds the lock of its groups: they are left alone.
    """
    found = sorted({*_recorded(data_dir), *_beside(support.parents.values())})
    # What can kill all at once goes first: the rest then is empty.
    found.sort(key=lambda folder: not (folder / "cgroup.kill").exists())
    return [folder for folder in found if _sweep(folder)]


def _sweep(folder: Path) -> bool:
    """Whether there was something, and it was nobody's."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return cgroupfs.end_groups(_parts(folder))
    finally:
        os.close(lock)


def _parts(folder: Path) -> dict[Controller, Path]:
    """What a folder of unknown kind can do, by its files."""
    files: dict[Controller, str] = {"kill": "cgroup.kill", "pids": "pids.max"}
    found: dict[Controller, Path] = {
        p: folder for p, file in files.items() if (folder / file).exists()
    }
    return found or {"memory": folder}


def _claim(folder: Path) -> int:
    """Makes and locks it. A sweep of another daemon may come between the two: then again."""
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
    """Tells data directories apart, also those that containers see by the same name."""
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


log = get_logger()


class ResourceGroups:
    """Made by `open_resource_groups`. `name` and `missing` say what the limits are worth here."""

    def __init__(self, support: CgroupSupport, folders: dict[Controller, Path]) -> None:
        self.name = support.name
        self.missing = support.missing
        self._version = support.version
        self._folders = folders
        self._ids = count(1)

    @asynccontextmanager
    async def open(self, limits: Limits) -> AsyncIterator[ResourceGroup]:
        """A cage for as long as the context lasts; then everything in it is dead.

        Raises OSError if the kernel gives no more of them.
        """
        name = str(next(self._ids))
        folders = {controller: folder / name for controller, folder in self._folders.items()}
        with trio.CancelScope(shield=True):
            group = await trio.to_thread.run_sync(make, self._version, folders, limits)
        try:
            yield group
        finally:
            group.kill()
            with trio.CancelScope(shield=True):
                if not await group.remove():
                    log.error("group.remove_failed", folders=sorted(map(str, group.folders)))


@asynccontextmanager
async def open_resource_groups(
    data_dir: Path, support: CgroupSupport | None = None, *, systemd: bool = True
) -> AsyncIterator[ResourceGroups]:
    """The daemon's cages, after what an earlier one left is dead and removed.

    `data_dir` exists and is locked by the caller; without `systemd` that is asked for nothing.
    Raises OSError if there is no room for them.
    """
    if support is None:
        support = await trio.to_thread.run_sync(partial(detect, systemd=systemd))
    for folder in await trio.to_thread.run_sync(sweep_leftovers, support, data_dir):
        log.warning("group.leftover_removed", folder=str(folder))
    owned = await trio.to_thread.run_sync(OwnedCgroups, support, data_dir)
    try:
        yield ResourceGroups(support, owned.folders)
    finally:
        with trio.CancelScope(shield=True):
            if not await trio.to_thread.run_sync(owned.leave):
                log.error(
                    "group.remove_failed", folders=sorted({*map(str, owned.folders.values())})
                )
