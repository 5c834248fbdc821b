"""The few things that are done with a cgroup's folder. Whatever changes one may block."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

# A resource group has a folder for each controller; in version 2 all are the same folder.
# A write to `kill` ends all processes of the group. Version 2 has it, with controllers or without.
Controller = Literal["memory", "pids", "cpu", "kill"]
Folders = Mapping[Controller, Path]


def make(folder: Path) -> None:
    """Raises FileExistsError, or OSError for why the kernel won't."""
    folder.mkdir()


def remove(folder: Path) -> None:
    """Removes it with all below. Raises OSError while there are processes; not there is fine."""
    for below in (*reversed([*subfolders(folder)]), folder):
        # Looked at first: on a read-only mount the kernel says so of what isn't there, too.
        if below.exists():
            below.rmdir()


def write(file: Path, text: str) -> None:
    """Raises OSError with the kernel's reason."""
    with file.open("w") as out:
        out.write(text)


def processes(folder: Path) -> set[int]:
    """Who is in it and in all below, as far as this pid namespace can name them."""
    found: set[int] = set()
    for group in (folder, *subfolders(folder)):
        with suppress(FileNotFoundError, NotADirectoryError):
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    # A process outside of the namespace is shown as 0, which to kill() means: ourselves.
    return found - {0}


def counter(file: Path, key: str) -> int:
    """One number of a file of `key number` lines; 0 if there is none."""
    return _find_counter(file, key) or 0


def number(file: Path) -> int:
    """A file that is just a number; 0 if there is none."""
    return _find_number(file) or 0


def cpu_used(folders: Folders) -> int | None:
    """The CPU time of all processes that ever ran there, in ns; None if it is not counted.

    Version 2 always counts it, version 1 where `cpuacct` is mounted together with `cpu`, as
    systemd does.
    """
    if "kill" in folders:
        used = _find_counter(folders["kill"] / "cpu.stat", "usage_usec")
        return None if used is None else used * 1000
    if "cpu" in folders:
        return _find_number(folders["cpu"] / "cpuacct.usage")
    return None


def _find_counter(file: Path, key: str) -> int | None:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == key:
                return int(number)
    return None


def _find_number(file: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(file.read_text())
    return None


def subfolders(folder: Path) -> Iterator[Path]:
    """All below, a folder before what is in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
                yield from subfolders(Path(entry.path))


# After SIGKILL only a process in an uninterruptible system call is left: nobody can end that.
END_SECONDS = 5.0

# How long it takes the kernel to have ended one process; doubled up to the other for many.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


def kill(folders: Folders) -> None:
    """SIGKILL to every process, in one stroke where the kernel can (since 5.14).

    Elsewhere nobody inside can start another process before each is killed; it must be called
    again until none is left, as `end_groups` does, for those that were just being born.
    """
    with suppress(KeyError, OSError):
        # Opened without creating it: an older kernel doesn't have it.
        with (folders["kill"] / "cgroup.kill").open("r+") as file:
            file.write("1")
        return
    with suppress(KeyError, OSError):
        write(folders["pids"] / "pids.max", "0")
    for folder in dict.fromkeys(folders.values()):
        for pid in processes(folder):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def populated(folders: Folders) -> bool:
    """Whether there is a process in any of them."""
    if "kill" in folders:
        return counter(folders["kill"] / "cgroup.events", "populated") > 0
    return any(processes(folder) for folder in folders.values())


def end_groups(folders: Folders, seconds: float = END_SECONDS) -> bool:
    """Kills all and removes the folders; blocks. False if that could not be done in time.

    The time is the real one: the kernel knows of no other.
    """
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        kill(folders)
        if not populated(folders) and _removed(folders):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _removed(folders: Folders) -> bool:
    """A folder is busy for a moment after its last process was."""
    try:
        for folder in dict.fromkeys(folders.values()):
            remove(folder)
    except OSError:
        return False
    return True
