"""What is done with the folders of cgroups. Functions that change one may block."""

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
    """Raises FileExistsError, or OSError with the kernel's reason."""
    folder.mkdir()


def remove(folder: Path) -> None:
    """Removes the folder and all below it, if it is there. Raises OSError if it has processes."""
    for below in (*reversed([*subfolders(folder)]), folder):
        # Checked first: on a read-only mount the error would be the same for a missing folder.
        if below.exists():
            below.rmdir()


def write(file: Path, text: str) -> None:
    """Raises OSError with the kernel's reason."""
    with file.open("w") as out:
        out.write(text)


def processes(folder: Path) -> set[int]:
    """The processes of the group and of all below it that this pid namespace has numbers for."""
    found: set[int] = set()
    for group in (folder, *subfolders(folder)):
        with suppress(FileNotFoundError, NotADirectoryError):
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
    # Processes outside of the namespace are shown as 0, and kill(0) would kill ourselves.
    return found - {0}


def counter(file: Path, key: str) -> int:
    """The number after `key` in a file of such lines; 0 if there is none."""
    return _find_counter(file, key) or 0


def number(file: Path) -> int:
    """The number that a file consists of; 0 if there is none."""
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
    """Yields all folders below, each before those in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
                yield from subfolders(Path(entry.path))


# How long the end of killed processes is waited for. One that lasts longer is in an
# uninterruptible system call, and nobody can end it.
END_SECONDS = 5.0

# How long to wait before looking whether all have ended: the kernel takes about so long for one
# process. The pause doubles from look to look, up to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.001, 0.02


def kill(folders: Folders) -> None:
    """Sends SIGKILL to every process, all at once where the kernel can do that (since 5.14).

    Elsewhere new processes are forbidden first, then each one is killed. Those that were just
    being started are missed, so it has to be called until none is left, as `end_groups` does.
    """
    with suppress(KeyError, OSError):
        # Opened without creating it: an older kernel doesn't have this file.
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
    """Whether any of the folders has a process."""
    if "kill" in folders:
        return counter(folders["kill"] / "cgroup.events", "populated") > 0
    return any(processes(folder) for folder in folders.values())


def end_groups(folders: Folders, seconds: float = END_SECONDS) -> bool:
    """Kills all processes and removes the folders; False if that took too long. Blocks.

    It waits in real time, not in trio's, as the kernel does.
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
    """False if a folder is still busy, which it is for a moment after its last process."""
    try:
        for folder in dict.fromkeys(folders.values()):
            remove(folder)
    except OSError:
        return False
    return True
