"""What a sandbox may take, and how all of it ends.

`open_cages` is the daemon's; `Cages.open` gives one sandbox its cage; `DiskSweep` looks after
the disk. docs/decisions/0008-limits.md says why.
"""

from ash.sandbox.limits.amounts import AskedLimits, Limits, cap
from ash.sandbox.limits.cage import Cage
from ash.sandbox.limits.cages import Cages, open_cages
from ash.sandbox.limits.disk import DiskSweep

__all__ = ["AskedLimits", "Cage", "Cages", "DiskSweep", "Limits", "cap", "open_cages"]
