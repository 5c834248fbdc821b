"""How a sandbox's first process puts itself into its cage before it becomes what it is to be."""

import os
import resource
from collections.abc import Iterable
from pathlib import Path

from ash.sandbox.limits.amounts import MB, Limits

# The CLI has 40 files open when it works; some servers and test runners want a thousand and
# more. With 64 processes that makes a quarter of a million, which a kernel bears.
OPEN_FILES = 4096

# One `ulimit` each and no other options: what dash, bash and busybox agree on. Files are in
# units of 512 bytes, memory in KiB. bash and dash call the limit of processes -u and -p.
_SCRIPT = """\
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done
ulimit -c 0; ulimit -n "$2"; ulimit -f "$3"
[ -z "$4" ] || ulimit -d "$4"
[ -z "$5" ] || ulimit -u "$5" 2>/dev/null || ulimit -p "$5"
shift 5
exec "$@"
"""


def enter(folders: Iterable[Path], limits: Limits, *, rlimits_only: bool) -> list[str]:
    """A prefix to a command: it runs inside of the cgroups from before its first instruction.

    It must be run as the daemon's user; who becomes another user does so behind it. Exits with
    125 if it can't get in: then the command does not run.
    """
    memory = str(limits.memory_mb * MB // 1024) if rlimits_only else ""
    processes = str(limits.max_processes) if rlimits_only else ""
    groups = [str(folder / "cgroup.procs") for folder in folders]
    blocks = str(limits.disk_mb * MB // 512)
    return [
        *("/bin/sh", "-c", _SCRIPT, "cage"),
        *groups,
        *("--", str(_open_files()), blocks, memory, processes),
    ]


def _open_files() -> int:
    """What may be asked for: only root may raise a hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY:
        return OPEN_FILES
    return min(OPEN_FILES, hard)
