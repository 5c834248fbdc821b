"""The clock for times of day, which tests can replace. Time-outs use trio's clock."""

import time
from typing import Protocol

from ash.model import iso


class Clock(Protocol):
    def now(self) -> float:
        """Unix time in seconds."""


class SystemClock:
    def now(self) -> float:
        return time.time()


def now_iso(clock: Clock) -> str:
    return iso(clock.now())
