"""Isolates the agent's code from the host.

`detect` finds the best isolation that works here; docs/decisions/0009-isolation.md gives reasons.
"""

from ash.isolation.detect import detect
from ash.isolation.isolation import GuestPaths, Isolation, IsolationLevel, WrappedCommand

__all__ = ["GuestPaths", "Isolation", "IsolationLevel", "WrappedCommand", "detect"]
