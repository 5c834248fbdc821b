"""The worker process that packs."""

import os
import subprocess

from ash.workspaces.snapshots.worker_process import ARGV
from tests.support.daemon import PATIENCE


def test_worker_exits_when_its_parent_has_died():
    """The worker exits if its parent is not the process that asked."""
    gone = str(os.getppid())
    with subprocess.Popen([*ARGV, gone], stdin=subprocess.PIPE) as packer:
        assert 1 == packer.wait(PATIENCE)
