"""How a sandbox's first process puts itself into its cage before it becomes what it is to be."""

import os
import resource
from pathlib import Path

from ash.sandbox.limits.amounts import MB, Limits
from ash.sandbox.limits.drivers import Folders

# The CLI has 40 files open when it works; some servers and test runners want a thousand and
# more. With 64 processes that makes a quarter of a million, which a kernel bears.
OPEN_FILES = 4096

# When the machine itself is full, sandboxes are ended before the daemon that has all of them.
# It is in thousandths of the memory, 1000 the most. `bin/bash` sets tools above their engine.
_OOM_STEP, _OOM_MOST = 200, 1000

# One `ulimit` each and no other options: what dash, bash and busybox agree on. Files are in
# units of 512 bytes, memory in KiB. bash and dash call the limit of processes -u and -p.
_SCRIPT = """\
while [ "$1" != -- ]; do echo $$ > "$1" || exit 125; shift; done
echo "$2" > /proc/self/oom_score_adj
ulimit -c 0; ulimit -n "$3"; ulimit -f "$4"
[ -z "$5" ] || ulimit -d "$5"
[ -z "$6" ] || ulimit -u "$6" 2>/dev/null || ulimit -p "$6"
shift 6
exec "$@"
"""


def joining_prefix(folders: Folders, limits: Limits) -> list[str]:
    """A prefix to a command: it runs inside of the cgroups from before its first instruction.

    It must be run as the daemon's user; who becomes another user does so behind it. Exits with
    125 if it can't get in: then the command does not run. For what has no cgroup there is a
    limit for each process (memory) or user (processes, if not root).
    """
    groups = [str(folder / "cgroup.procs") for folder in dict.fromkeys(folders.values())]
    blocks = str(limits.disk_mb * MB // 512)
    memory = "" if "memory" in folders else str(limits.memory_mb * MB // 1024)
    processes = "" if "pids" in folders else str(limits.max_processes)
    amounts = (_oom_score(), str(_open_files()), blocks, memory, processes)
    return ["/bin/sh", "-c", _SCRIPT, "cage", *groups, "--", *amounts]


def _oom_score() -> str:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    return str(min(own + _OOM_STEP, _OOM_MOST))


def _open_files() -> int:
    """What may be asked for: only root may raise a hard limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if os.geteuid() == 0 or hard == resource.RLIM_INFINITY:
        return OPEN_FILES
    return min(OPEN_FILES, hard)
