"""Folders of the host that somebody changes while the daemon works on them."""

import os
import threading
from contextlib import contextmanager, suppress

import pytest

from ash.agent_files.arrival import take_folder
from ash.errors import AshError

SECRET = "what nobody else may read"


@contextmanager
def swapping(one, other):
    """The two names change places again and again, as fast as the kernel can do it."""
    stop = threading.Event()
    spare = one.with_name(f"{one.name}.spare")

    def swap():
        while not stop.is_set():
            one.rename(spare)
            other.rename(one)
            spare.rename(other)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def agent(tmp_path):
    """An agent's folder, in one of its own that somebody may change."""
    folder = tmp_path / "theirs" / "agent"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "CLAUDE.md").write_text("Be brief.")
    (folder / "sub" / "file").write_text("mine")
    (folder / "sub" / "deep" / "file").write_text("mine")
    return folder


@pytest.fixture
def secret(tmp_path):
    """A folder that looks like one of an agent."""
    folder = tmp_path / "secret"
    (folder / "deep").mkdir(parents=True)
    for name in ("CLAUDE.md", "file", "deep/file"):
        (folder / name).write_text(SECRET)
    return folder


def deploys(agent, tmp_path, times=150):
    """The texts of all files of all copies that were made."""
    found = set()
    for number in range(times):
        copy = tmp_path / f"copy-{number}"
        with suppress(AshError, OSError):
            take_folder(agent, copy)
            found |= {path.read_text() for path in copy.rglob("*") if path.is_file()}
    return found


@pytest.mark.parametrize("what", [".", "..", "sub", "sub/deep", "sub/file"])
def test_deploy_copies_nothing_from_outside(agent, secret, tmp_path, what):
    """A part of the path, or of the folder, becomes a link to a folder of somebody else."""
    victim = (agent / what).resolve()
    link = victim.with_name(f"{victim.name}.link")
    inside = {".": secret, "..": tmp_path / "secrets", "sub": secret, "sub/deep": secret / "deep"}
    if what == "..":
        (tmp_path / "secrets").mkdir()
        secret.rename(tmp_path / "secrets" / "agent")
    link.symlink_to(inside.get(what, secret / "file"))
    with swapping(victim, link):
        found = deploys(agent, tmp_path)
    assert SECRET not in found


def test_file_that_grows_is_copied_as_long_as_it_was(agent, tmp_path):
    """A file without an end does not fill the disk."""
    stop = threading.Event()
    large = agent / "large"
    large.write_bytes(b"x" * 100_000)

    def grow():
        with large.open("ab") as file:
            while not stop.is_set() and file.tell() < 200_000_000:
                file.write(b"y" * 100_000)

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        take_folder(agent, tmp_path / "copy")
    finally:
        stop.set()
        thread.join()
    assert (tmp_path / "copy" / "large").stat().st_size < 200_000_000


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_file_that_becomes_something_else_is_not_read(agent, tmp_path, make):
    """Neither is it waited for."""
    odd = agent / "sub" / "file.link"
    make(odd)
    with swapping(agent / "sub" / "file", odd):
        found = deploys(agent, tmp_path, 100)
    assert found <= {"mine", "Be brief."}
