"""Starts, finds and ends an `ashd` in the background."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import httpx
from msgspec import Struct

from ash.errors import StartError

# `ash <version>  <url>  data=…  engine=…  isolation=…`, the daemon's first line.
_START_LINE = re.compile(rb"^ash \S+\s+(https?://\S+)", re.MULTILINE)
# A start with a cold page cache and a large database takes seconds.
_START_TIMEOUT = 30.0
_POLL = 0.02
# How long a daemon that failed to start may take to end; it has no turns to wait for.
_END_TIMEOUT = 5.0


class DaemonFiles(Struct, frozen=True):
    """The files of a detached daemon in its data directory."""

    data_dir: Path

    @property
    def pid(self) -> Path:
        return self.data_dir / "ashd.pid"

    @property
    def url(self) -> Path:
        return self.data_dir / "ashd.url"

    @property
    def log(self) -> Path:
        return self.data_dir / "ashd.log"

    def running(self) -> int | None:
        """The pid in the pid file, if that process is a running daemon."""
        with suppress(OSError, ValueError):
            pid = int(self.pid.read_text())
            return pid if _is_ashd(pid) else None
        return None

    def remove(self) -> None:
        self.pid.unlink(missing_ok=True)
        self.url.unlink(missing_ok=True)


def command(arguments: Sequence[str]) -> list[str]:
    """The command line of `ashd`; with -P, modules in the current folder are not imported."""
    return [sys.executable, "-P", "-m", "ash.cli.ashd", *arguments]


def spawn(
    arguments: Sequence[str], env: Mapping[str, str], log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    """Starts `ashd` with its output in `log`; returns the process and URL once it answers.

    Raises StartError, with the daemon's own last line, if it ends or does not answer in time;
    then no process is left.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with open(descriptor, "wb") as output:  # noqa: PTH123 - a descriptor has no path
        start = os.fstat(descriptor).st_size
        process = subprocess.Popen(
            command(arguments),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        return process, _wait_until_ready(process, log, start)
    except BaseException:
        if not end(process.pid, _END_TIMEOUT):
            process.kill()
        process.wait()
        raise


def end(pid: int, timeout: float) -> bool:
    """Sends SIGTERM; returns whether the process has ended within `timeout` seconds."""
    try:
        # A pidfd, because the kernel may give the pid to another process meanwhile.
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        return bool(select.select([descriptor], [], [], timeout)[0])
    finally:
        os.close(descriptor)


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of the log; an empty list if there is no log."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, start: int) -> str:
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise StartError(_last_line(log, start))
        found = _START_LINE.search(log.read_bytes()[start:])
        if found and _is_healthy(url := found[1].decode()):
            return url
        time.sleep(_POLL)
    raise StartError(f"ashd did not answer within {_START_TIMEOUT:g} s; see {log}")


def _is_healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", trust_env=False, timeout=5).is_success
    except httpx.TransportError:
        return False


def _last_line(log: Path, start: int) -> str:
    lines = log.read_bytes()[start:].decode(errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    return said[-1].removeprefix("ashd: ") if said else "ashd ended without a word"


def _is_ashd(pid: int) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(word == b"ash.cli.ashd" or word.endswith(b"/ashd") for word in words)
