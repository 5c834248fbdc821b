"""Nothing outlives its owner: `bench/death.py` in its short form, and that it would tell."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# One that has left its parent, its session and its group.
STRAY = """\
import subprocess, sys, tempfile
from pathlib import Path
from tests.support.death import Surroundings, take_in_orphans
take_in_orphans()
surroundings = Surroundings(Path(tempfile.gettempdir()) / "no-data")
subprocess.run(["/bin/sh", "-c", "(setsid sleep 60 >/dev/null 2>&1 &)"], check=True)
left = surroundings.left()
for line in left.processes:
    print(line)
    subprocess.run(["kill", "-9", line.split()[0]], check=True)
"""


def run(*argv):
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_nothing_is_left_of_sandboxes_or_a_killed_daemon():
    """After cycles and kills there is no process, mount, cgroup, socket, descriptor or folder."""
    done = run("bench/death.py", "--cycles", "20", "--kills", "5")
    assert (0, "nothing is left") == (
        done.returncode,
        (done.stdout.splitlines() or [""])[-1],
    ), done.stdout + done.stderr


def test_process_that_got_away_would_be_seen():
    """However it was started, it is found."""
    (line,) = run("-c", STRAY).stdout.splitlines()
    assert "sleep 60" in line
