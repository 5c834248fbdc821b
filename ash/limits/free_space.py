"""How much room the disk of the data directory has, and below which floor nothing new begins."""

import os
from pathlib import Path

from ash.errors import Unavailable
from ash.limits.amounts import MB
from ash.workspaces.disk_errors import RETRY_SECONDS

# A floor that is more than this share of the disk would be no floor for a small disk.
_LARGEST_SHARE = 10


class FreeSpace:
    """The file system that holds `folder`. A floor of 0 is none. Its calls take some µs."""

    def __init__(self, folder: Path, floor_mb: int = 0) -> None:
        self._folder = folder
        self._floor = floor_mb * MB

    def taken(self) -> int:
        """How many bytes are taken, by whomever. Raises OSError."""
        found = os.statvfs(self._folder)
        return (found.f_blocks - found.f_bfree) * found.f_frsize

    def free_mb(self) -> int:
        """Raises OSError."""
        found = os.statvfs(self._folder)
        return found.f_bavail * found.f_frsize // MB

    def floor_mb(self) -> int:
        """What was asked for, but at most a tenth of the disk. Raises OSError."""
        found = os.statvfs(self._folder)
        return min(self._floor, found.f_blocks * found.f_frsize // _LARGEST_SHARE) // MB

    def is_low(self) -> bool:
        """Raises OSError."""
        return self.free_mb() < self.floor_mb()

    def health(self) -> dict[str, int]:
        """For `GET /health`; empty if the disk does not say."""
        try:
            return {"freeMb": self.free_mb(), "floorMb": self.floor_mb()}
        except OSError:
            return {}

    def check(self) -> None:
        """Raises Unavailable if there is less room than the floor."""
        try:
            low = self.is_low()
        except OSError:
            # Whoever writes next says in words what is the matter with the disk.
            return
        if low:
            raise Unavailable(
                f"The server's disk has less than {self.floor_mb()} MB free: try again when there"
                " is room, or delete files of sessions that you no longer need",
                retry_after=RETRY_SECONDS,
            )
