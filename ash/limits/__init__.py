"""Limits memory, CPU, processes and disk of a sandbox, and kills all of its processes.

A daemon calls `open_resource_groups` once. `ResourceGroups.open` gives a sandbox its cgroups,
`DiskSweep` and
`SpaceAlarm` hold it to its disk limit. docs/decisions/0008-limits.md gives the reasons.
"""

from ash.limits.amounts import Limits, cap
from ash.limits.disk_sweep import DiskSweep
from ash.limits.free_space import FreeSpace
from ash.limits.resource_group import ResourceGroup
from ash.limits.resource_groups import ResourceGroups, open_resource_groups
from ash.limits.space_alarm import SpaceAlarm

__all__ = [
    "DiskSweep",
    "FreeSpace",
    "Limits",
    "ResourceGroup",
    "ResourceGroups",
    "SpaceAlarm",
    "cap",
    "open_resource_groups",
]
