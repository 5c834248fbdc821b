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

# Each fills 75 MB where a daemon that is not root may not look, and stays. No file may be larger
# than the limit.
HIDDEN = {
    "in a folder that is closed": """
os.mkdir("closed")
files = make("closed/")
os.chmod("closed", 0)
fill(files)
""",
    "in a folder that can only be listed": """
os.mkdir("closed")
files = make("closed/")
os.chmod("closed", 0o444)
fill(files)
""",
    "in deleted files": """
fill(make_deleted())
""",
    "in deleted files of a process that is closed": """
ctypes.CDLL(None).prctl(4, 0)
fill(make_deleted())
""",
    "in deleted files that are only mapped": """
files = make("")
for file in files:
    os.ftruncate(file, 15 << 20)
memory = [mmap.mmap(file, 15 << 20) for file in files]
delete()
os.closerange(3, 100)
for each in memory:
    for page in range(0, 15 << 20, 4096):
        each[page] = 1
""",
    "in deleted files of a thread": """
def thread():
    fill(make_deleted())
    time.sleep(999)
threading.Thread(target=thread).start()
""",
}
HELP = """
import ctypes, mmap, os, threading, time
def make(folder):
    return [os.open(f"{folder}f{n}", os.O_RDWR | os.O_CREAT) for n in range(5)]
def delete():
    for number in range(5):
        os.unlink(f"f{number}")
def make_deleted():
    files = make("")
    delete()
    return files
def fill(files):
    for file in files:
        os.write(file, bytes(15 << 20))
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
