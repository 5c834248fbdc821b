"""The few things that are done with a cgroup's folder. Whatever changes one may block."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


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
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == key:
                return int(number)
    return 0


def number(file: Path) -> int:
    """A file that is just a number; 0 if there is none."""
    with suppress(OSError):
        return int(file.read_text())
    return 0


def subfolders(folder: Path) -> Iterator[Path]:
    """All below, a folder before what is in it."""
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield Path(entry.path)
                yield from subfolders(Path(entry.path))
