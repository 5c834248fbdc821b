"""The class of disk accounting, measured by a user of the host who is not root.

Root may look into every folder. Another user may not, though the agent's files are its own: an
agent could hide files from it. The measuring itself runs as that user here, not a whole daemon.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.users import NOBODY, python

USER = os.geteuid() or NOBODY
SIZE = 5_000_000

PRELUDE = """
import os, stat, subprocess, sys
from pathlib import Path
from ash.limits.disk_usage import UNREADABLE, entry_sizes
folder = Path(sys.argv[1])
hidden = folder / "a" / "b"
hidden.mkdir(parents=True)
(hidden / "file").write_bytes(bytes(5_000_000))
"""

# Each mode keeps the owner from something: from all, from what is inside, from the list.
CLOSED = """
mode = int(sys.argv[2], 8)
hidden.chmod(mode)
hidden.parent.chmod(mode)
size = sum(entry_sizes([folder]))
hidden.parent.chmod(0o700) if stat.S_IMODE(hidden.parent.stat().st_mode) == mode else sys.exit(1)
hidden.parent.chmod(0o700)
sys.exit(2) if stat.S_IMODE(hidden.stat().st_mode) != mode else print(size)
"""

# A process of the agent closes the folder again each time that it is opened.
CLOSED_AGAIN = """
code = "import os, sys\\nprint(flush=True)\\nwhile True: os.chmod(sys.argv[1], 0)"
agent = [subprocess.Popen([sys.executable, "-c", code, hidden], stdout=subprocess.PIPE)]
agent[0].stdout.readline()
try:
    sizes = [sum(entry_sizes([folder])) for _ in range(50)]
finally:
    agent[0].kill()
    agent[0].wait()
print(min(sizes))
"""


@pytest.fixture
def folder():
    """One that every user may use, unlike pytest's own."""
    with TemporaryDirectory(prefix="ash-") as made:
        Path(made).chmod(0o777)
        yield made


@pytest.mark.parametrize("mode", ["000", "400", "100", "200"])
def test_file_in_a_closed_folder_counts(folder, mode):
    """Whatever its modes keep their owner from; they are the same afterwards."""
    size = int(python(PRELUDE + CLOSED, folder, mode, uid=USER))
    assert SIZE <= size < SIZE + 100_000


def test_file_in_a_folder_that_is_closed_again_and_again_counts(folder):
    """It is measured, or else its folder counts as more than any limit: it never hides."""
    assert int(python(PRELUDE + CLOSED_AGAIN, folder, uid=USER)) >= SIZE
