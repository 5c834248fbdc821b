"""Starts processes so that they die with the scope that owns them."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO

import trio

from ash.log import get_logger

# A killed process can only remain in an uninterruptible system call; then we leave it to init.
REAP_SECONDS = 5


class Spawner:
    """Starts processes from one thread that lives as long as the daemon.

    The kernel sends the parent-death signal when the *thread* that forked ends. Trio's worker
    threads end after ten idle seconds, and their children would be killed then. `running` has the
    pids of children that somebody waits for; it may lack those that are still `starting`.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")
        self.running: set[int] = set()
        self.starting = 0

    async def start(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, pass_fds: Sequence[int]
    ) -> "Process":
        """Raises OSError if the program can't be started."""
        token = trio.lowlevel.current_trio_token()
        started = trio.Event()
        future = self._thread.submit(
            subprocess.Popen,
            argv,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        future.add_done_callback(lambda _: token.run_sync_soon(started.set))
        self.starting += 1
        try:
            # Shielded, or a cancelled caller would leave a process that nobody owns.
            with trio.CancelScope(shield=True):
                await started.wait()
            popen = future.result()
            self.running.add(popen.pid)
        finally:
            self.starting -= 1
        return Process(popen, self.running.discard)

    def close(self) -> None:
        self._thread.shutdown()


class Process:
    """A started process with its group. `stdout` and `stderr` are byte streams."""

    def __init__(self, popen: subprocess.Popen[bytes], forget: Callable[[int], None]) -> None:
        """`forget` is told the pid once the process has been reaped."""
        self._popen = popen
        self._forget = forget
        self._pidfd = os.pidfd_open(popen.pid)
        self.pid = popen.pid
        self.stdout = _take(popen.stdout)
        self.stderr = _take(popen.stderr)

    async def wait(self) -> int:
        """The exit status once it has ended; -N if signal N ended it.

        The rest of its process group is killed with it.
        """
        if self._popen.returncode is None:
            await trio.lowlevel.wait_readable(self._pidfd)
            # Before it is reaped, because after that its id may belong to another group.
            self.kill()
        status = self._popen.wait()
        self._forget(self.pid)
        return status

    def kill(self) -> None:
        """SIGKILL to the process and its group; a no-op when it has been reaped."""
        if self._popen.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def aclose(self) -> None:
        """Kills and reaps it; takes no longer than REAP_SECONDS."""
        self.kill()
        with trio.CancelScope(shield=True):
            with trio.move_on_after(REAP_SECONDS):
                await self.wait()
            await self.stdout.aclose()
            await self.stderr.aclose()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _take(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    assert pipe is not None
    stream = trio.lowlevel.FdStream(os.dup(pipe.fileno()))
    pipe.close()
    return stream


log = get_logger()

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


async def reap_orphans(spawner: Spawner) -> None:
    """Adopts orphans in place of init, and reaps them when they end; runs until cancelled.

    It leaves the spawner's children to those who wait for them. It also leaves the processes that
    a program which embeds us has started: unlike a sandbox, they are in our own session.
    """
    if not _take_in_orphans(on=True):
        return
    try:
        with trio.open_signal_receiver(signal.SIGCHLD) as signals:
            async for _ in signals:
                if not spawner.starting:
                    _reap_all_but(spawner.running)
    finally:
        _take_in_orphans(on=False)


def _take_in_orphans(*, on: bool) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, int(on), 0, 0, 0) == 0:
        return True
    log.warning("reaper.refused", why=os.strerror(ctypes.get_errno()))
    return False


def _reap_all_but(waited_for: set[int]) -> None:
    ours = os.getsid(0)
    for pid in _children():
        with suppress(ProcessLookupError, ChildProcessError):
            if pid not in waited_for and os.getsid(pid) != ours:
                os.waitpid(pid, os.WNOHANG)


def _children() -> list[int]:
    """The children of all our threads, because an orphan can be given to any of them."""
    found: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except FileNotFoundError:
            continue
    return found
