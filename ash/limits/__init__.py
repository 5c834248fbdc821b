"""What a sandbox may take, and how all of it ends.

`open_resource_groups` is the daemon's; `ResourceGroups.open` gives one sandbox its group;
`DiskSweep` looks after the disk. docs/decisions/0008-limits.md says why.
"""

from ash.limits.amounts import AskedLimits, Limits, cap
from ash.limits.disk_sweep import DiskSweep
from ash.limits.resource_group import ResourceGroup
from ash.limits.resource_groups import ResourceGroups, open_resource_groups

__all__ = [
    "AskedLimits",
    "DiskSweep",
    "Limits",
    "ResourceGroup",
    "ResourceGroups",
    "cap",
    "open_resource_groups",
]
