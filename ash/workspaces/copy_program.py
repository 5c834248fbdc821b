"""Copies folders that an agent may be changing; a program of its own, because it takes long.

    copy_program.py TARGET FOLDER…

Each folder is copied into TARGET under its own name. Every file is opened relative to the folder's
descriptor, and no link is followed. (`cp` goes by paths, so an agent that swaps a folder for a
link at the right moment could lead it anywhere on the host.) Left out are files that vanish
meanwhile or can't be read, and anything that is not a file, folder or link. The caller owns the
copy. Runs with `-I -S`. An error is one line on stderr: its number and its text.
"""

# pathlib (PTH) takes longer to import than a small folder to copy, and knows no descriptors.
# ruff: noqa: PTH119

import errno
import fcntl
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# How deep folders may nest, wherever ash walks them. No source tree is deeper: old versions of npm
# made the deepest ones, with 40 levels. The limit is there because a walk holds two descriptors a
# level, and removing a tree recurses. It stands in this file because this program, which runs with
# `-I -S`, can't import it from another.
MAX_DEPTH = 100

CHUNK = 8 * 1024 * 1024
# Files up to this size are copied by one read and one write, which is fastest.
SMALL = 64 * 1024
FICLONE = 0x4004_9409  # linux/fs.h

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

# Errors for files that vanished, were replaced meanwhile, or can't be read.
_LEFT_OUT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EACCES}


def copy(sources: list[str], target: str) -> None:
    """Copies the folders into `target`. Raises OSError."""
    with _open(target) as into:
        for source in sources:
            with _open(source) as folder:
                _Copy(into).folder(folder, into, os.path.basename(source), 0)


class _Copy:
    """Copies one folder into `root`. Hard links within the folder are hard links in the copy.

    Stops at the next entry when the parent process has died; the next daemon removes what is
    there by then.
    """

    def __init__(self, root: int) -> None:
        self._root = root
        self._wanted_by = os.getppid()
        self._first: dict[tuple[int, int], str] = {}

    def folder(self, source: int, into: int, name: str, depth: int, path: str = "") -> None:
        if depth > MAX_DEPTH:
            raise OSError(errno.ENAMETOOLONG, "folders are nested too deeply")
        path = f"{path}{name}/"
        os.mkdir(name, 0o700, dir_fd=into)
        with _open(name, into) as target:
            # A name that is renamed and back while the kernel lists the folder comes twice.
            for inner in set(os.listdir(source)):
                with _vanished_left_out():
                    self._entry(source, target, inner, depth, path)
            copy_metadata(target, os.fstat(source))

    def _entry(self, source: int, into: int, name: str, depth: int, path: str) -> None:
        if os.getppid() != self._wanted_by:
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        found = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            with _open(name, source) as below:
                self.folder(below, into, name, depth + 1, path)
        elif stat.S_ISLNK(found.st_mode):
            _link(source, into, name)
        elif stat.S_ISREG(found.st_mode):
            with _open(name, source, READ) as file:
                self._file(file, into, name, path)

    def _file(self, source: int, into: int, name: str, path: str) -> None:
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            return
        which = (found.st_dev, found.st_ino)
        if found.st_nlink > 1 and self._linked(which, into, name):
            return
        self._first[which] = path + name
        target = os.open(name, WRITE, 0o600, dir_fd=into)
        try:
            copy_contents(source, target, found)
            copy_metadata(target, found)
        finally:
            os.close(target)

    def _linked(self, which: tuple[int, int], into: int, name: str) -> bool:
        """Makes the file another name of its copy, if it has one; False if it has none."""
        if which not in self._first:
            return False
        try:
            os.link(self._first[which], name, src_dir_fd=self._root, dst_dir_fd=into)
        except OSError as error:
            # The path is longer than the kernel takes in one call: the file is copied again.
            if error.errno != errno.ENAMETOOLONG:
                raise
            return False
        return True


def _link(source: int, into: int, name: str) -> None:
    try:
        target = os.readlink(name, dir_fd=source)
    except OSError as error:
        # It is no longer a link.
        if error.errno == errno.EINVAL:
            return
        raise
    os.symlink(target, name, dir_fd=into)


def copy_contents(source: int, target: int, found: os.stat_result) -> None:
    """Copies the content by sharing blocks, if the file system can, or else keeps the holes."""
    if found.st_size <= SMALL and found.st_blocks * 512 >= found.st_size:
        os.write(target, os.read(source, SMALL))
        return
    cloned = False
    with suppress(OSError):
        fcntl.ioctl(target, FICLONE, source)
        cloned = True
    # A clone also has what was appended since `found`.
    os.ftruncate(target, found.st_size)
    if cloned:
        return
    for start, end in _data(source, found.st_size):
        at = start
        while at < end:
            done = os.copy_file_range(source, target, min(end - at, CHUNK), at, at)
            if not done:
                return
            at += done


def _data(file: int, size: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are not holes; the file may be truncated meanwhile."""
    end = 0
    while end < size:
        try:
            start = os.lseek(file, end, os.SEEK_DATA)
            end = min(os.lseek(file, start, os.SEEK_HOLE), size)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        yield start, end


def copy_metadata(target: int, found: os.stat_result) -> None:
    """Copies times and permissions, but not setuid and setgid: the copy's owner may be root."""
    os.fchmod(target, stat.S_IMODE(found.st_mode) & 0o777)
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


@contextmanager
def _open(name: str, folder: int | None = None, flags: int = FOLDER) -> Iterator[int]:
    fd = os.open(name, flags, dir_fd=folder)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _vanished_left_out() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _LEFT_OUT:
            raise


if __name__ == "__main__":
    try:
        copy(sys.argv[2:], sys.argv[1])
    except OSError as error:
        sys.exit(f"{error.errno} {error.strerror}")
