"""Looks at processes from outside."""

import os
from pathlib import Path

from tests.support.waiting import until


def alive(pid: int) -> bool:
    """Whether it runs: one that has ended and was not reaped does not."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def exists(pid: int) -> bool:
    """Whether there is an entry, be it a zombie's."""
    return bool(_stat(pid))


def parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def children_of_thread(thread: int) -> list[int]:
    """Empty if the thread has ended."""
    try:
        words = Path(f"/proc/self/task/{thread}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in words]


def children() -> set[int]:
    """Our own, of all threads. Orphans are among them once a daemon ran in this process."""
    return {
        child
        for thread in os.listdir("/proc/self/task")  # noqa: PTH208 - the names are all we need
        for child in children_of_thread(int(thread))
    }


def command(pid: int) -> str:
    """Its command line; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def descendants(pid: int) -> list[int]:
    """All that come from it, by now."""
    pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    parents = {each: parent(each) for each in pids}
    family = [pid]
    for member in family:
        family += [each for each, owner in parents.items() if owner == member]
    return family[1:]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would open one more


async def stopped(pid: int) -> None:
    await until(lambda: not alive(pid))


async def gone(pid: int) -> None:
    """Reaped, too."""
    await until(lambda: not exists(pid))


def _stat(pid: int) -> list[str]:
    """State, parent and so on (proc(5), from the third field on); empty if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
