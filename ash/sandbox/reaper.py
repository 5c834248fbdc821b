"""Reaps the orphans of dead sandboxes.

A sandbox's outer process can die before the inner one that it would have reaped. Then init
gets it, and in a container init is often the daemon itself, or nobody who reaps.
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

import trio

from ash.log import get_logger
from ash.sandbox.process import Spawner

log = get_logger()

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


async def reap_orphans(spawner: Spawner) -> None:
    """Takes in orphans in init's place and reaps them as they end; runs until cancelled.

    Children of the spawner are left to who waits for them, and so is what the program around
    us has started: unlike a sandbox it is in our own session.
    """
    if not _take_in_orphans(on=True):
        return
    try:
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            async for _ in signals:
                if not spawner.starting:
                    _reap_all_but(spawner.running)
    finally:
        _take_in_orphans(on=False)


def _take_in_orphans(*, on: bool) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0:
        return True
    log.warning("reaper.refused", error=os.strerror(ctypes.get_errno()))
    return False


def _reap_all_but(waited_for: set[int]) -> None:
    ours = os.getsid(0)
    for pid in _children():
        with suppress(ProcessLookupError, ChildProcessError):
            if pid not in waited_for and os.getsid(pid) != ours:
                os.waitpid(pid, os.WNOHANG)


def _children() -> list[int]:
    """The children of all our threads; orphans come to any of them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found
