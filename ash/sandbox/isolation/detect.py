"""Finds out what isolation can be had here, by trying."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from ash.errors import StartError
from ash.sandbox import seccomp
from ash.sandbox.isolation import root
from ash.sandbox.isolation.bare import Bare
from ash.sandbox.isolation.bubblewrap import Bubblewrap
from ash.sandbox.isolation.place import Isolation, Level, Place
from ash.sandbox.isolation.reasons import explain
from ash.sandbox.isolation.uids import Uids
from ash.sandbox.tree import remove_tree

# A machine that boots may be busy; what takes longer would make every session wait.
PROBE_SECONDS = 10.0

# Where it tries, below the system's folder for such. One that was killed in it leaves it there, and
# the next one takes it away when nobody can be in it any more.
PROBE = "ash-probe-"
ABANDONED_SECONDS = 3600.0

NOT_INSTALLED = "bubblewrap is not installed (apt-get install bubblewrap)"


def detect(
    level: Level,
    readable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    *,
    users: Uids | None = None,
) -> Isolation:
    """The best isolation there is. Blocks: it tries. Raises StartError if `strict` can't be had.

    `readable` is in every sandbox, read-only; `hidden` is in none, wherever it lies. `users` are
    for a daemon that is root.
    """
    if level == "none":
        return Bare()
    program = shutil.which("bwrap")
    if program is None:
        return _checked(level, Bare(missing=(NOT_INSTALLED,)))
    _sweep()
    refusals: list[str] = []
    files = root.make(readable, hidden)
    for isolation in _best_first(program, files, users or Uids()):
        reason = _why_not(isolation)
        if reason is None:
            worse = (f"a sandbox has no host user of its own: {why}" for why in refusals)
            isolation.missing = (*isolation.missing, *worse)
            return _checked(level, isolation)
        refusals.append(reason)
    return _checked(level, Bare(missing=(refusals[-1],)))


def _checked(level: Level, isolation: Isolation) -> Isolation:
    if level == "strict" and isolation.missing:
        lacks = "; ".join(isolation.missing)
        raise StartError(f"isolation is strict, but {lacks}. Or set ASH_ISOLATION=best-effort.")
    return isolation


def _best_first(program: str, files: root.Root, users: Uids) -> Iterator[Bubblewrap]:
    calls = seccomp.build()
    lacks = () if calls else (f"system calls are not filtered on {os.uname().machine}",)
    if os.geteuid() == 0:
        yield Bubblewrap(program, files, users=users, seccomp=calls, missing=lacks)
    yield Bubblewrap(program, files, users=None, seccomp=calls, missing=lacks)


def _sweep() -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for folder in Path(gettempdir()).glob(f"{PROBE}*"):
        with suppress(FileNotFoundError):
            found = folder.lstat()
            if found.st_uid == os.geteuid() and found.st_mtime < oldest:
                remove_tree(folder)


def _why_not(isolation: Bubblewrap) -> str | None:
    """Starts a real sandbox: what a kernel or container forbids shows only then."""
    # Says too whether the interpreter and the bridge can be read by whoever is in there.
    program = [sys.executable, "-P", "-c", "import bridge"]
    with TemporaryDirectory(prefix=PROBE) as folder:
        own = Path(folder)
        place = Place(own / "workspace", own / "home", own / "sockets")
        for part in (place.workspace, place.home, place.sockets):
            part.mkdir()
        try:
            settled = isolation.settle(place)
        except OSError as error:
            return f"folders can't be given to another user ({error.strerror})"
        try:
            return _tried(isolation, program, settled)
        finally:
            isolation.leave(settled)


def _tried(isolation: Bubblewrap, program: list[str], place: Place) -> str | None:
    wrapped = isolation.wrap(program, place, {"PYTHONPATH": isolation.inside(place).python_path})
    try:
        done = subprocess.run(
            wrapped.argv,
            env=wrapped.env,
            pass_fds=wrapped.fds,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "bubblewrap does not answer"
    finally:
        for fd in wrapped.fds:
            os.close(fd)
    return None if done.returncode == 0 else explain(done.stderr.decode(errors="replace"))
