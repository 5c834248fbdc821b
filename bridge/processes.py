"""Finds and kills processes that the bridge started, for sandboxes without a PID namespace."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_MARK = "ASH_BRIDGE"


def mark_children() -> bytes:
    """Sets a mark in the environment, which all processes started from now on inherit."""
    value = f"{os.getpid()}.{time.time_ns()}"
    os.environ[_MARK] = value
    return f"{_MARK}={value}".encode()


def kill_marked(mark: bytes, patience: float = 2.0) -> None:
    """Kills processes with the mark until none is left, for `patience` seconds at most.

    A process that has cleared its environment is not found.
    """
    deadline = time.monotonic() + patience
    while (pids := list(_marked(mark))) and time.monotonic() < deadline:
        for pid in pids:
            _kill(pid)
        time.sleep(0.005)


def kill_tree(root: int) -> None:
    """Kills a process and all its descendants."""
    parents = dict(_parents())
    family = [root]
    for member in family:
        family += [pid for pid, parent in parents.items() if parent == member]
    for pid in family:
        _kill(pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)


def _marked(mark: bytes) -> Iterator[int]:
    for pid in _pids():
        with suppress(OSError):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield pid


def _parents() -> Iterator[tuple[int, int]]:
    for pid in _pids():
        with suppress(OSError):
            # The process name, in parentheses, may itself contain spaces and parentheses.
            after_name = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2]
            yield pid, int(after_name.split()[1])


def _pids() -> Iterator[int]:
    """The ids of all processes but this one."""
    own = os.getpid()
    names = (path.name for path in Path("/proc").iterdir())
    return (int(name) for name in names if name.isdecimal() and int(name) != own)
