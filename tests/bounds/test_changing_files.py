"""Files of a session that its agent swaps while the daemon works on them."""

import fcntl
import os
import signal
import subprocess
import sys
from contextlib import closing, contextmanager, suppress

import pytest

from ash.agent_files.arrival import take_folder
from ash.agent_files.executables import make_executable
from ash.errors import AshError, Conflict, TooLarge
from ash.workspaces.copy import remove_tree
from ash.workspaces.copy_program import MAX_DEPTH, copy
from ash.workspaces.files import delete_file, open_file, write_file
from ash.workspaces.listing import list_files
from ash.workspaces.safe_open import open_folder
from ash.workspaces.snapshots.pack import pack
from ash.workspaces.snapshots.unpack import unpack
from ash.workspaces.snapshots.walk import Unfit
from ash.workspaces.workspaces import Workspaces

SECRET = "#!/bin/sh\n# what nobody else may read\n"
MINE = "#!/bin/sh\n# mine\n"

# Exchanges two names as fast as the kernel can (RENAME_EXCHANGE), in a process of its own: a folder
# or file, and a link or pipe. It makes them anew when they were removed.
SWAPPER = """
import contextlib, ctypes, os, sys
libc = ctypes.CDLL(None)
one, other, target, mine, is_folder = sys.argv[1:]
names = os.fsencode(one), os.fsencode(other)

def make():
    for name in one, other:
        if os.path.lexists(name) and not (os.path.isfile(name) or os.path.isdir(name)) \\
                or os.path.islink(name):
            os.unlink(name)
    os.makedirs(os.path.dirname(one), exist_ok=True)
    if os.path.lexists(other):
        os.rename(other, one)
    if is_folder:
        os.makedirs(one, exist_ok=True)
    file = one + "/file" if is_folder else one
    if not os.path.lexists(file):
        with open(file, "x") as out:
            out.write(mine)
    os.symlink(target, other) if target else os.mkfifo(other)

make()
print(flush=True)
while True:
    if libc.renameat2(-100, names[0], -100, names[1], 2):
        with contextlib.suppress(OSError):
            make()
"""


@contextmanager
def swapping(one, other, target="", folder=""):
    """`one` and a link to `target`, or else a pipe, change places all the time."""
    arguments = [str(one), str(other), str(target), MINE, folder]
    command = [sys.executable, "-I", "-S", "-c", SWAPPER, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as swapper:
        swapper.stdout.readline()
        try:
            yield
        finally:
            swapper.kill()


@pytest.fixture
def outside(tmp_path):
    folder = tmp_path / "outside"
    folder.mkdir()
    for name in ("file", "secret"):
        (folder / name).write_text(SECRET)
        (folder / name).chmod(0o644)
    return folder


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "session" / "workspace"
    (folder / "place").mkdir(parents=True)
    (folder / "place" / "file").write_text(MINE)
    return folder


def texts(folder):
    """What the files say; not what links lead to, which are copied as links."""
    files = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.read_text() for path in files}


def state(folder):
    """Mode, inode, device, links, owner, group and text of each file."""
    return [(*path.stat()[:6], path.read_text()) for path in sorted(folder.iterdir())]


def fork(workspace, scratch):
    copy([str(workspace)], str(scratch))
    return texts(scratch / "workspace")


def snapshot(workspace, scratch):
    archive = scratch / "archive"
    pack({"workspace": str(workspace)}, archive, left_out=frozenset(), limit=1024**2)
    unpack(archive, scratch / "back", ("workspace",), limit=1024**2)
    return texts(scratch / "back")


def listed(workspace, _):
    with opened(workspace) as root:
        found = list_files(root, hidden=True, check=lambda: None).files
    return {SECRET for file in found if file.size == len(SECRET) or "secret" in file.path}


def read(workspace, _):
    with opened(workspace) as root, closing(open_file(root, "place/file")) as file:
        return {file.read(0, file.size).decode()}


def write(workspace, _):
    with opened(workspace) as root:
        write_file(root, "place/file", [MINE.encode()], 0o644)
    return set()


def delete(workspace, _):
    with opened(workspace) as root:
        delete_file(root, "place/file")
    return set()


def execute(workspace, _):
    with opened(workspace) as root:
        make_executable(root, ["place/file"])
    return set()


def remove(workspace, _):
    remove_tree(workspace)
    return set()


@contextmanager
def opened(workspace):
    root = open_folder(workspace)
    try:
        yield root
    finally:
        os.close(root)


def again_and_again(work, workspace, scratch, times):
    """What the work found of each round. What it refuses is no matter here."""
    found = set()
    for number in range(times):
        folder = scratch / str(number)
        folder.mkdir(parents=True)
        with suppress(AshError, Unfit, FileNotFoundError, NotADirectoryError):
            found |= work(workspace, folder)
    return found


WORK = [fork, snapshot, listed, read, write, delete, execute, remove]


@pytest.mark.parametrize("work", WORK)
@pytest.mark.parametrize("what", ["place", "place/file"])
def test_nothing_outside_is_touched(workspace, outside, tmp_path, work, what):
    """Nothing is read, written, deleted or made executable behind a link that comes and goes."""
    target, folder = (outside, "yes") if what == "place" else (outside / "file", "")
    before = state(outside)
    with swapping(workspace / what, workspace / "other", target, folder):
        found = again_and_again(work, workspace, tmp_path / "scratch", 60)
    assert found <= {MINE}
    assert before == state(outside)


@pytest.mark.parametrize("work", WORK)
def test_pipe_in_the_place_of_a_file_is_not_waited_for(workspace, tmp_path, work):
    """No work hangs, or fails with an error that a client could not be told."""
    with swapping(workspace / "place" / "file", workspace / "pipe"):
        found = again_and_again(work, workspace, tmp_path / "scratch", 60)
    assert found <= {MINE}


@pytest.fixture
def session(tmp_path):
    """The folders of a session, and the workspace of one of them."""
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / "file").write_text(MINE)
    workspaces = Workspaces(tmp_path / "data")
    return workspaces, workspaces.prepare("parent", agent).workspace


@pytest.fixture
def told_of_leases():
    """Whoever has a lease gets a signal when it is to give it back. It would end the tests."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGIO, before)


@pytest.mark.usefixtures("told_of_leases")
def test_fork_of_a_leased_file_is_refused_in_words(session):
    """Without isolation an agent can take a lease; a fork neither waits for it nor fails oddly."""
    workspaces, workspace = session
    with (workspace / "file").open("r+") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(Conflict, match="lease"):
            workspaces.fork("parent", "fork")
    assert [] == workspaces.kept_ids()


def nest(folder, levels, name="d"):
    """The innermost of so many folders, whose path may be longer than the kernel takes."""
    here = open_folder(folder)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    return here


def test_fork_of_folders_that_are_too_deep_is_refused_in_words(session):
    """An agent may nest them after they were measured."""
    workspaces, workspace = session
    os.close(nest(workspace, MAX_DEPTH + 1))
    with pytest.raises(Conflict, match=f"more than {MAX_DEPTH} deep"):
        workspaces.fork("parent", "fork")
    assert [] == workspaces.kept_ids()


def test_fork_has_files_with_two_names_in_long_paths(session):
    """The kernel takes no path of 24 KB, by which the second name would be made."""
    workspaces, workspace = session
    inner = nest(workspace, MAX_DEPTH - 1, "d" * 240)
    try:
        os.close(os.open("one", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=inner))
        os.link("one", "other", src_dir_fd=inner, dst_dir_fd=inner)
    finally:
        os.close(inner)
    workspaces.fork("parent", "fork")
    with workspaces.opened("fork") as (root, _):
        here = os.dup(root)
        for _ in range(MAX_DEPTH - 1):
            below = os.open("d" * 240, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        found = os.listdir(here)  # noqa: PTH208
        os.close(here)
    assert {"one", "other"} == set(found)


def test_name_that_is_listed_twice_is_copied_once(workspace, tmp_path, monkeypatch):
    """Some file systems list a name again that is renamed and back meanwhile."""
    names = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: names(folder) * 2)
    copy([str(workspace)], str(tmp_path))
    assert MINE == (tmp_path / "workspace" / "place" / "file").read_text()


def test_deploy_counts_what_it_copies(tmp_path, monkeypatch):
    """A file that has grown since the folder was looked at counts with its length of now."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("Be brief.")
    large = folder / "large"
    large.write_bytes(b"x")
    monkeypatch.setattr(
        "ash.agent_files.arrival.read_env", lambda _: large.write_bytes(b"x" * 2**21)
    )
    (folder / ".env").touch()
    with pytest.raises(TooLarge):
        take_folder(folder, tmp_path / "copy", 1)
    assert not (tmp_path / "copy").exists()
