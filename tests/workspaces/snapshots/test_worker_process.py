"""The process that packs beside the daemon."""

import os
import subprocess

from ash.workspaces.snapshots.worker_process import ARGV
from tests.support.daemon import PATIENCE


def test_packer_ends_with_who_wants_it():
    """It has another parent than the one that asked: that has died, so nobody waits for it."""
    gone = str(os.getppid())
    with subprocess.Popen([*ARGV, gone], stdin=subprocess.PIPE) as packer:
        assert 1 == packer.wait(PATIENCE)
