"""Makes the kernel itself refuse writes, as root, and takes it back."""

import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def immutable(*paths):
    """Nobody can change these files, or what is directly in these folders: EPERM."""
    done = subprocess.run(["chattr", "+i", *paths], capture_output=True, check=False, text=True)
    try:
        if done.returncode:
            pytest.skip(f"chattr can't be had: {done.stderr.strip()}")
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], capture_output=True, check=False)


@contextmanager
def mounted_read_only(pid, folder):
    """All of the folder is read-only for a process with mounts of its own: EROFS.

    Files that it has open and sandboxes that it has started keep what they have.
    """
    for action in (("--bind", folder, folder), ("-o", "remount,ro,bind", folder)):
        _mount(pid, "mount", *action)
    try:
        yield
    finally:
        _mount(pid, "umount", "--lazy", folder)


def _mount(pid, *command):
    subprocess.run(["nsenter", "-t", str(pid), "-m", *command], check=True)


# What a daemon is started with that is to have mounts of its own.
OWN_MOUNTS = ("unshare", "--mount")


def check_mounts():
    """Skips the test where there can be none."""
    done = subprocess.run([*OWN_MOUNTS, "true"], capture_output=True, check=False, text=True)
    if done.returncode:
        pytest.skip(f"a process can't have mounts of its own: {done.stderr.strip()}")


def check_open_files(folder):
    """Skips the test where who has a file open can write to it all the same; not so on ext4."""
    with (folder / "probe").open("wb", buffering=0) as file, immutable(file.name):
        try:
            file.write(b"x")
        except PermissionError:
            return
    pytest.skip("an immutable file can be written to by who has it open")
