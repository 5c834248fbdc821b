"""Finds the best isolation that works on this machine, by trying."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from ash.errors import StartError
from ash.isolation import code, root, seccomp
from ash.isolation.bubblewrap import Bubblewrap
from ash.isolation.isolation import Bare, Isolation, IsolationLevel
from ash.isolation.uids import Uids
from ash.workspaces.copy import remove_tree
from ash.workspaces.workspaces import HostPaths

# Long enough for a machine that is busy booting. An isolation that needs longer is of no use.
PROBE_SECONDS = 10.0

# Prefix of the temporary folder for the attempt. A daemon that is killed during it leaves the
# folder behind; a later start removes it once it is so old that nobody can be using it.
PROBE = "ash-probe-"
ABANDONED_SECONDS = 3600.0

NOT_ISOLATED = "agents run as the user of the daemon, with its files and its network"
NOT_INSTALLED = "bubblewrap is not installed (apt-get install bubblewrap)"

_APPARMOR = (
    "AppArmor forbids it to make user namespaces: load a profile for bwrap that has the rule"
    " `userns,`, or run ashd as root"
)
_ROOT_ONLY = (
    "the kernel lets only root make user namespaces: set kernel.unprivileged_userns_clone=1, or"
    " run ashd as root"
)
_NONE_ALLOWED = "the kernel allows no user namespaces: set user.max_user_namespaces=10000"

# Kernel settings that can forbid user namespaces: the forbidding value, and what to do about it.
_SWITCHES = {
    "kernel/apparmor_restrict_unprivileged_userns": ("1", _APPARMOR),
    "kernel/unprivileged_userns_clone": ("0", _ROOT_ONLY),
    "user/max_user_namespaces": ("0", _NONE_ALLOWED),
}

_CONTAINER = (
    "this container allows it no namespaces: start it with --security-opt seccomp=unconfined"
    " --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
)


def detect(
    level: IsolationLevel,
    readable: Sequence[Path] = (),
    hidden: Sequence[Path] = (),
    *,
    users: Uids | None = None,
) -> Isolation:
    """The best isolation that works. Blocks, since it starts one.

    Every sandbox can read `readable`; none sees `hidden`. `users` are for a daemon that is root.
    Raises StartError if the level is `strict` and anything is missing.
    """
    if level == "none":
        return Bare(missing=(NOT_ISOLATED,))
    program = shutil.which("bwrap")
    if program is None:
        return _bare(level, NOT_INSTALLED)
    _remove_abandoned_probes()
    refusals: list[str] = []
    files = root.make(readable, hidden)
    for isolation in _best_first(program, files, users or Uids()):
        reason = _reason_against(isolation)
        if reason is None:
            worse = (f"a sandbox has no host user of its own: {why}" for why in refusals)
            isolation.missing = (*isolation.missing, *worse)
            return _check_level(level, isolation)
        refusals.append(reason)
    return _bare(level, refusals[-1])


def _bare(level: IsolationLevel, reason: str) -> Isolation:
    _check_level(level, Bare(missing=(reason,)))
    return Bare(missing=(f"{reason}, so {NOT_ISOLATED}",))


def _check_level(level: IsolationLevel, isolation: Isolation) -> Isolation:
    if level == "strict" and isolation.missing:
        lacks = "; ".join(isolation.missing)
        raise StartError(
            f"isolation is strict, but {lacks}. Or start without it: ASH_ISOLATION=best-effort"
        )
    return isolation


def _best_first(program: str, files: root.RootFilesystem, users: Uids) -> Iterator[Bubblewrap]:
    calls = seccomp.build()
    lacks = () if calls else (f"system calls are not filtered on {os.uname().machine}",)
    if os.geteuid() == 0:
        yield Bubblewrap(program, files, users=users, seccomp=calls, missing=lacks)
    yield Bubblewrap(program, files, users=None, seccomp=calls, missing=lacks)


def _remove_abandoned_probes() -> None:
    oldest = time.time() - ABANDONED_SECONDS
    for folder in Path(gettempdir()).glob(f"{PROBE}*"):
        with suppress(FileNotFoundError):
            found = folder.lstat()
            if found.st_uid == os.geteuid() and found.st_mtime < oldest:
                remove_tree(folder)


def _reason_against(isolation: Bubblewrap) -> str | None:
    """Starts a real sandbox, and returns the reason if that fails."""
    # The import also shows whether the sandbox's user can read the interpreter and the bridge.
    program = [code.PYTHON, "-P", "-c", "import bridge"]
    with TemporaryDirectory(prefix=PROBE) as folder:
        own = Path(folder)
        paths = HostPaths(own / "workspace", own / "home", own / "sockets")
        for part in (paths.workspace, paths.home, paths.sockets):
            part.mkdir()
        try:
            owned = isolation.acquire(paths)
        except OSError as error:
            return f"folders can't be given to another user ({error.strerror})"
        try:
            return _try(isolation, program, owned)
        finally:
            isolation.release(owned)


def _try(isolation: Bubblewrap, program: list[str], paths: HostPaths) -> str | None:
    wrapped = isolation.wrap(program, paths, {"PYTHONPATH": isolation.inside(paths).python_path})
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


def explain(said: str, root: Path = Path("/")) -> str:
    """The reason for a failed start, in words for the operator; `said` is what it has printed."""
    last = (said.strip().splitlines() or ["it says nothing"])[-1]
    hint = _hint(last, root)
    return f"bubblewrap does not work here: {f'{hint} ({last})' if hint else last}"


def _hint(last: str, root: Path) -> str | None:
    if "not permitted" not in last and "denied" not in last and "No space" not in last:
        return None
    for switch, (value, hint) in _SWITCHES.items():
        file = root / "proc/sys" / switch
        if file.exists() and file.read_text().strip() == value:
            return hint
    # Docker and Podman create these files.
    in_container = (root / ".dockerenv").exists() or (root / "run/.containerenv").exists()
    return _CONTAINER if in_container else None
