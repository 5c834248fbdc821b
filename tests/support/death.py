"""What is left of sandboxes when they, or their daemon, have come to an end.

Whoever uses this takes in all orphans that it has started: nothing can get away unseen, however
often it forks, and zombies count.
"""

import ctypes
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

import trio
from msgspec import Struct, field

from tests.support.processes import descendants, exists

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

# For the kernel to end what it has been told to, on a busy machine.
PATIENCE = 5.0

FLOOD = 200

_SOCKET = f"""\
{sys.executable} -S -c '
import signal, socket, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open_ones = [socket.socket(socket.AF_UNIX) for _ in range(50)]
open_ones[0].bind(chr(0) + "stays"); open_ones[0].listen()
time.sleep(300)' >/dev/null 2>&1 &"""

# net/tcp_states.h
_ESTABLISHED = "01"

# What agents do that won't end by itself: each gets away from its parent or its session, does
# not care for SIGTERM, is many, or has become another before it can be killed.
TURNS = {
    "words": "hello",
    "daemon": "BASH: (setsid sh -c 'trap \"\" TERM; sleep 300 & wait' >/dev/null 2>&1 &); echo x",
    "orphans": "BASH: for i in 1 2 3; do (nohup setsid sleep 300 >/dev/null 2>&1 &) & done; wait",
    "flood": f"BASH: exec >&-; for i in $(seq {FLOOD}); do (trap '' TERM; exec sleep 300) & done",
    "relay": "BASH: next() { (sleep 0.01; next) & }; next >/dev/null 2>&1; sleep 0.1",
    "sockets": f"BASH: {_SOCKET}\nsleep 0.1; echo x",
    "killer": "BASH: kill -9 $PPID; kill -9 -1; sleep 5",
    "cut short": "SLOW: 100 10",
}


def take_in_orphans() -> None:
    """From now on what loses its parent below us is our child."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this process may not take in orphans")


def reap() -> None:
    """As init does: orphans of ours that have ended are gone."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


class Left(Struct):
    """What should not be there; empty if all is well."""

    processes: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    cgroups: list[str] = field(default_factory=list)
    sockets: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__struct_fields__)


class Surroundings:
    """What was there before; `data_dir` is the daemon's."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self._mounts = _mounts()

    def left(self, but: set[int] | None = None) -> Left:
        """What is there now of a daemon that has ended; `but` are processes that may live."""
        found = set(descendants(os.getpid())) - (but or set())
        return Left(
            processes=[_describe(pid) for pid in found if exists(pid)],
            mounts=sorted(_mounts() - self._mounts),
            cgroups=[group for group in self.cgroups() if Path(group).exists()],
            sockets=[str(path) for path in self.data_dir.rglob("*") if _is_socket(path)],
            folders=[str(path) for path in self.data_dir.glob("sandboxes/*")],
        )

    def cgroups(self) -> list[str]:
        """The daemon's own group in each hierarchy."""
        with suppress(FileNotFoundError):
            return (self.data_dir / "cgroups").read_text().splitlines()
        return []

    def groups(self) -> int:
        """How many sandboxes have a group, at the most."""
        return max(
            (sum(each.is_dir() for each in Path(g).iterdir()) for g in self.cgroups()), default=0
        )


async def processes_end() -> float:
    """Seconds until nothing that we started is left, at most PATIENCE; zombies of ours go."""
    begun = trio.current_time()
    with trio.move_on_after(PATIENCE):
        while descendants(os.getpid()):
            reap()
            await trio.sleep(0.005)
    return trio.current_time() - begun


def descriptors(pid: int) -> dict[str, int]:
    """How many of each kind a process has, but for connections that stand.

    Those to the model are kept, for whoever asks it next.
    """
    counts: dict[str, int] = {}
    outward = _connections()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            target = str(path.readlink())
            kind = "file" if target.startswith("/") else target.partition(":")[0]
            if target not in outward:
                counts[kind] = counts.get(kind, 0) + 1
    return counts


def _connections() -> set[str]:
    """All that have somebody at the other end, as /proc/PID/fd names them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[3] == _ESTABLISHED}


def _mounts() -> set[str]:
    """Where something is mounted."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in lines}


def _is_socket(path: Path) -> bool:
    with suppress(OSError):
        return stat.S_ISSOCK(path.lstat().st_mode)
    return False


def _describe(pid: int) -> str:
    with suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return f"{pid} {state} {words[:80]}"
    return f"{pid}"
