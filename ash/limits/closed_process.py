"""What a process holds open that has closed /proc/PID/fd to its own user.

The bridge does so, and any process can (PR_SET_DUMPABLE). For root nothing changes. A daemon that
is not root owns the user namespace of its sandboxes, so the kernel still lets it copy descriptors
of theirs, one by one.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# The same number on every architecture; Linux 5.6 or later.
_PIDFD_GETFD = 438

_libc = ctypes.CDLL(None, use_errno=True)


def held_by(pid: int) -> Iterator[os.stat_result | None]:
    """Looks at each place in the process's table: None is one that is empty or refused.

    Blocks, 2 µs a place. Raises OSError if the process is gone.
    """
    process = os.pidfd_open(pid)
    try:
        for number in range(_table_size(pid)):
            yield _held(process, number)
    finally:
        os.close(process)


def _held(process: int, number: int) -> os.stat_result | None:
    copy = _libc.syscall(_PIDFD_GETFD, process, number, 0)
    if copy < 0:
        return None
    try:
        with suppress(OSError):
            return os.fstat(copy)
        return None
    finally:
        os.close(copy)


def _table_size(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("FDSize:"):
            return int(line.split()[1])
    return 0
