"""The class of disk accounting again, with a daemon that is not root.

It may not look into what an agent closes to its own user, which it is: folders, and processes.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support import own_daemon
from tests.support.users import NOBODY, as_user
from tests.support.waiting import block_until

pytestmark = pytest.mark.process

LIMIT = 20

# Each fills 60 MB where a daemon that is not root may not look, and stays.
HIDDEN = {
    "in a folder that is closed": """
os.mkdir("closed")
file = make("closed/f")
os.chmod("closed", 0)
fill(file)
""",
    "in a folder that can only be listed": """
os.mkdir("closed")
file = make("closed/f")
os.chmod("closed", 0o444)
fill(file)
""",
    "in a deleted file": """
file = make("f")
os.unlink("f")
fill(file)
""",
    "in a deleted file of a process that is closed": """
import ctypes
ctypes.CDLL(None).prctl(4, 0)
file = make("f")
os.unlink("f")
fill(file)
""",
    "in a deleted file that is only mapped": """
import mmap
file = make("f")
os.ftruncate(file, 60 << 20)
memory = mmap.mmap(file, 60 << 20)
os.unlink("f")
os.closerange(3, 100)
for page in range(0, 60 << 20, 4096):
    memory[page] = 1
""",
    "in a deleted file of a thread": """
import threading
def thread():
    file = make("f")
    os.unlink("f")
    fill(file)
    time.sleep(999)
threading.Thread(target=thread).start()
""",
}
HELP = """
import os, time
def make(name):
    return os.open(name, os.O_RDWR | os.O_CREAT)
def fill(file):
    for _ in range(60):
        os.write(file, bytes(1 << 20))
"""


@pytest.fixture(scope="module")
def daemon():
    uid = NOBODY if os.geteuid() == 0 else os.geteuid()
    with TemporaryDirectory(prefix="ash-user-") as folder:
        os.chown(folder, uid, -1)
        with own_daemon.running(Path(folder), prefix=as_user(uid)) as daemon:
            yield daemon


@pytest.mark.parametrize("code", HIDDEN.values(), ids=HIDDEN)
def test_what_is_hidden_counts(daemon, code):
    """Its sandbox is ended, and the session says why."""
    limits = {"agent": "a", "limits": {"diskMb": LIMIT}}
    session = daemon.call("POST", "/api/sessions", limits).json()["session"]["id"]
    script = f"{HELP}{code}\ntime.sleep(999)"
    command = f"setsid python3 - >/dev/null 2>&1 <<'END' &\n{script}\nEND"
    daemon.execute(session, command)

    def ended():
        found = daemon.call("GET", f"/api/sessions/{session}").json()["session"]
        return found["status"] == "error"

    block_until(ended, lambda: daemon.call("GET", f"/api/sessions/{session}").text)
    (*_, last) = daemon.call("GET", f"/api/sessions/{session}/events").json()["events"]
    assert f"disk limit of {LIMIT} MB" in last["data"]
    daemon.call("DELETE", f"/api/sessions/{session}")
