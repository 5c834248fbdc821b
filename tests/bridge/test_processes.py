"""Processes are found and killed by their mark and by descent."""

import os
import subprocess

from bridge import processes
from tests.support.processes import alive
from tests.support.waiting import block_until

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
    block_until(lambda: not any(map(alive, family)))


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
    block_until(lambda: not any(map(alive, family)))
    assert other.poll() is None
    processes.kill_tree(other.pid)
    with other:
        other.wait(5)
