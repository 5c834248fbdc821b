"""Limits memory, CPU, processes and disk of a sandbox, and kills all of its processes.

A daemon calls `open_resource_groups` once. `ResourceGroups.open` gives a sandbox its cgroups,
`DiskSweep` holds it to its disk limit. docs/decisions/0008-limits.md gives the reasons.
"""

from ash.limits.amounts import Limits, cap
from ash.limits.disk_sweep import DiskSweep
from ash.limits.resource_group import ResourceGroup
from ash.limits.resource_groups import ResourceGroups, open_resource_groups

__all__ = [
    "DiskSweep",
    "Limits",
    "ResourceGroup",
    "ResourceGroups",
    "cap",
    "open_resource_groups",
]
