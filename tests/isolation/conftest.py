"""Fixtures for isolation: folders of a sandbox, and programs run in it."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ash.isolation import detect, root, seccomp
from ash.isolation.bubblewrap import Bubblewrap
from ash.isolation.uids import Uids
from ash.workspaces.workspaces import HostPaths

ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home/agent", "PYTHON": sys.executable}


@pytest.fixture
def host_paths(tmp_path):
    """Folders as the daemon makes them, below one that no other user may enter."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    own = HostPaths(folder / "workspace", folder / "home", folder / "sockets")
    for part in (own.workspace, own.home, own.sockets):
        part.mkdir()
    return own


@pytest.fixture
def isolation():
    """The isolation that the daemon would use here, with nothing missing."""
    return detect("strict")


def bubblewrap(*, readable=(), hidden=(), users=None, filtered=True, own_user=True):
    """A Bubblewrap made without detection."""
    if own_user and os.geteuid() == 0:
        users = users or Uids()
    return Bubblewrap(
        "/usr/bin/bwrap",
        root.make(readable, hidden),
        users=users,
        seccomp=seccomp.build() if filtered else None,
    )


def run(isolation, host_paths, command, env=ENV, prefix=(), **more):
    """The exit code and the output of a command in the sandbox."""
    argv = ["/bin/bash", "-c", command] if isinstance(command, str) else command
    with acquired(isolation, host_paths) as there:
        wrapped = isolation.wrap(argv, there, env, **more)
        try:
            return subprocess.run(
                [*prefix, *wrapped.argv],
                env=wrapped.env,
                cwd=host_paths.workspace,
                pass_fds=wrapped.fds,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            for fd in wrapped.fds:
                os.close(fd)


@contextmanager
def acquired(isolation, host_paths):
    there = isolation.acquire(host_paths)
    try:
        yield there
    finally:
        isolation.release(there)


def output(isolation, host_paths, command, env=ENV, prefix=()):
    done = run(isolation, host_paths, command, env, prefix)
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.strip()


def descriptors():
    """The open descriptors of this process."""
    return {int(entry.name) for entry in list(Path("/proc/self/fd").iterdir()) if entry.exists()}
