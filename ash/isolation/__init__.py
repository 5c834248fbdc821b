"""What keeps agent code apart from the host.

`detect` says what can be had here; docs/decisions/0009-isolation.md says why it is done so.
"""

from ash.isolation.detect import detect
from ash.isolation.isolation import GuestPaths, Isolation, IsolationLevel, WrappedCommand

__all__ = ["GuestPaths", "Isolation", "IsolationLevel", "WrappedCommand", "detect"]
