"""Keeps the agent's code, which has the same user, from reading or changing the bridge's memory."""

import ctypes
import os

# linux/prctl.h
_PR_SET_DUMPABLE = 4


def refuse_inspection() -> None:
    """From now on /proc/PID/mem, fd, environ and maps of this process are closed to its user.

    A program that this process starts is not protected. Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"the bridge's memory can't be closed: {os.strerror(error)}")
