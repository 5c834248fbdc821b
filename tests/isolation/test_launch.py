"""The launcher that starts bubblewrap as another user."""

import os
import subprocess
import sys

from ash.isolation import launch
from tests.support.users import NOBODY, as_user


def start(*command, uid, sources=b"/usr"):
    """Runs the launcher with its usual arguments, as the given user."""
    fd = os.memfd_create("sources")
    os.write(fd, sources)
    os.lseek(fd, 0, os.SEEK_SET)
    words = [sys.executable, "-I", "-S", launch.__file__, "2000000001", "2000000000", str(fd), "--"]
    try:
        return subprocess.run(
            [*as_user(uid), *words, *command],
            capture_output=True,
            text=True,
            check=False,
            pass_fds=[fd],
        )
    finally:
        os.close(fd)


def test_launch_without_root_says_so():
    """Without root there is one line of error, and nothing is run."""
    done = start("/bin/echo", "ran", uid=NOBODY if os.geteuid() == 0 else os.geteuid())
    assert (launch.FAILED, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("ash: ")
    assert 1 == done.stderr.count("\n")


def test_launch_with_a_missing_folder_names_it():
    """The error names a folder that no longer exists."""
    done = start("/bin/echo", "ran", uid=os.geteuid(), sources=b"/usr\0/gone")
    assert (launch.FAILED, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("ash: ")
