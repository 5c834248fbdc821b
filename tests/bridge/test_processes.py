"""Processes are found and killed by their mark and by descent."""

import os
import subprocess
import time
from pathlib import Path

from bridge import processes

_FAMILY = "sleep 300 & (setsid sleep 300 & echo $!; wait) & echo $!; echo $$; wait"


def _start(**env: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    process = subprocess.Popen(
        ["/bin/bash", "-c", _FAMILY], stdout=subprocess.PIPE, env={**os.environ, **env}
    )
    return process, [int(process.stdout.readline()) for _ in range(3)]


def test_kill_tree_ends_all_that_descend() -> None:
    """All descendants are killed, also those in sessions of their own."""
    process, family = _start()
    processes.kill_tree(process.pid)
    with process:
        assert -9 == process.wait(5)
    assert [] == _alive(family)


def test_marked_processes_are_killed_wherever_they_are(monkeypatch) -> None:
    """Orphans with the mark are killed, and processes without it live on."""
    other, _ = _start()
    monkeypatch.setenv("ASH_BRIDGE", "")
    mark = processes.mark_children()
    process, family = _start()
    process.kill()
    with process:
        process.wait(5)
    processes.kill_marked(mark)
    assert [] == _alive(family)
    assert other.poll() is None
    processes.kill_tree(other.pid)
    with other:
        other.wait(5)


def _alive(pids: list[int]) -> list[int]:
    """The pids that are neither gone nor zombies."""
    deadline = time.monotonic() + 5
    while (left := [pid for pid in pids if _running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _running(pid: int) -> bool:
    try:
        return b") Z" not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
