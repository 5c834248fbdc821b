"""What a sandbox may take, and how all of it ends.

`open_resource_groups` is the daemon's; `ResourceGroups.open` gives one sandbox its cage; `DiskSweep` looks after
the disk. docs/decisions/0008-limits.md says why.
"""

from ash.sandbox.limits.amounts import AskedLimits, Limits, cap
from ash.sandbox.limits.cage import ResourceGroup
from ash.sandbox.limits.cages import ResourceGroups, open_resource_groups
from ash.sandbox.limits.disk import DiskSweep

__all__ = [
    "AskedLimits",
    "DiskSweep",
    "Limits",
    "ResourceGroup",
    "ResourceGroups",
    "cap",
    "open_resource_groups",
]
