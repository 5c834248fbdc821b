"""Processes that are closed to their own user, as the bridge is and as any process can be."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.users import NOBODY, python

# As bubblewrap runs a sandbox for a daemon that is not root. It says when it is ready.
SANDBOX = """
import ctypes, os, sys
hidden = open("/mnt/hidden", "wb")
hidden.write(bytes(5_000_000))
hidden.flush()
os.unlink("/mnt/hidden")
if sys.argv[1] == "closed":
    ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
print("ready", flush=True)
sys.stdin.read()
"""

MEASURE = """
import os, subprocess, sys
from pathlib import Path
from ash.limits.disk_usage import unlinked_sizes
folder, code, how = sys.argv[1:]
own = ["--unshare-user", "--disable-userns", "--cap-drop", "ALL"] if os.geteuid() else []
sandbox = subprocess.Popen(
    ["bwrap", "--bind", "/", "/", "--bind", folder, "/mnt", "--dev", "/dev", "--unshare-pid",
     "--proc", "/proc", "--as-pid-1", *own, sys.executable, "-P", "-c", code, how],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE,
)
sandbox.stdout.readline()
children = Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children")
(pid,) = map(int, children.read_text().split())
print(sum(unlinked_sizes([pid], os.stat(folder).st_dev)))
sandbox.communicate()
"""


OWN = os.geteuid()


@pytest.fixture
def folder():
    """One that every user may use, unlike pytest's own."""
    with TemporaryDirectory(prefix="ash-") as made:
        Path(made).chmod(0o777)
        yield made


@pytest.mark.parametrize("uid", {OWN, OWN or NOBODY})
@pytest.mark.parametrize("how", ["open", "closed"])
def test_deleted_file_of_a_closed_process_counts(uid, how, folder):
    """A daemon measures it, root or not, though its own user can't list what it holds."""
    size = int(python(MEASURE, folder, SANDBOX, how, uid=uid))
    assert 5_000_000 <= size < 6_000_000
