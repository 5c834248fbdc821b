"""A disk of the test's own: a file with a file system in it, as root."""

import subprocess
from contextlib import contextmanager

import pytest

SIZE = 64 * 1024 * 1024


class Disk:
    def __init__(self, folder):
        self.folder = folder

    @contextmanager
    def frozen(self):
        """Whoever writes to it waits, as while a machine's snapshot is taken."""
        _run("fsfreeze", "--freeze", self.folder)
        try:
            yield
        finally:
            _run("fsfreeze", "--unfreeze", self.folder)

    def fail(self):
        """For good, as after an error of the device: the kernel makes it read-only."""
        _run("mount", "-o", "remount,abort", self.folder)


@contextmanager
def loop_disk(tmp_path):
    """Skips the test where there can be none."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    image.touch()
    folder.mkdir()
    with image.open("r+b") as file:
        file.truncate(SIZE)
    try:
        _run("mkfs.ext4", "-q", "-F", image)
        _run("mount", "-o", "loop,errors=remount-ro", image, folder)
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        pytest.skip(f"there can be no disk in a file: {getattr(error, 'stderr', error)}")
    try:
        yield Disk(folder)
    finally:
        _run("umount", "--lazy", folder)


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)
