"""Reaps the orphans of dead sandboxes.

A sandbox's outer process can die before the inner one that it would have reaped. Then init
gets it, and in a container init is often the daemon itself, or nobody who reaps.
"""

import ctypes
import os
import signal
from pathlib import Path

import structlog
import trio

from ash.sandbox.process import Spawner

log = structlog.stdlib.get_logger()

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


async def reap_orphans(spawner: Spawner) -> None:
    """Takes in orphans in init's place and reaps them as they end; runs until cancelled.

    Children of the spawner are left to who waits for them.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        log.warning("reaper.refused", error=os.strerror(ctypes.get_errno()))
        return
    with trio.open_signal_receiver(signal.SIGCHLD) as signals:
        async for _ in signals:
            for pid in _children():
                if pid not in spawner.running:
                    _reap(pid)


def _children() -> list[int]:
    """The children of all our threads; orphans come to any of them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
