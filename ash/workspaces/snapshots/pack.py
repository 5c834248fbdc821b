"""Packs folders into a tar archive, compressed with zstd. Blocks, for long."""

import hashlib
import os
import stat
import tarfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, cast

from msgspec import Struct

from ash.workspaces.snapshots.walk import (
    TreeEntry,
    TreeListing,
    Unfit,
    changes_unfit,
    cost,
    listing,
    walk,
)

# zstd's default: packs at least 200 MB/s on one core, and text to about a third.
LEVEL = 3

CHUNK = 1024 * 1024


class Packed(Struct, frozen=True):
    """What was packed. `size` is the archive's, `skipped` the number of unreadable files."""

    listing: str
    sha256: str
    size: int
    skipped: int


def pack(tops: Mapping[str, str], target: Path, *, left_out: frozenset[str], limit: int) -> Packed:
    """Packs the folders `tops`, each under its name, into the new file `target`.

    Links are packed as links, and a file with several names once. Raises Unfit for more than
    `limit` bytes in all, and if anything is changed meanwhile, since it will be packed again.
    """
    import zstandard

    with target.open("xb") as file:
        counted = _Counted(file)
        packer = zstandard.ZstdCompressor(LEVEL)
        with packer.stream_writer(cast("IO[bytes]", counted), closefd=False) as out:
            writer = _Writer(out, limit)
            with changes_unfit(), closing(walk(tops, left_out)) as entries:
                for entry in entries:
                    writer.add(entry)
            out.write(tarfile.NUL * tarfile.BLOCKSIZE * 2)
    if listing(tops, left_out) != writer.listing.digest:
        raise Unfit("the files were changed while they were packed")
    return Packed(writer.listing.digest, counted.sha256.hexdigest(), counted.size, writer.skipped)


class _Counted:
    """A file for writing that counts and hashes what is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        written = self._file.write(data)
        self.size += written
        return written


class _Writer:
    def __init__(self, out: IO[bytes], limit: int) -> None:
        self.listing = TreeListing()
        self.skipped = 0
        self._out = out
        self._left = limit
        self._first: dict[tuple[int, int], str] = {}

    def add(self, entry: TreeEntry) -> None:
        self.listing.add(entry)
        info = _info(entry)
        if info.isreg():
            self._add_file(entry, info)
        else:
            if info.issym():
                info.linkname = os.readlink(entry.name, dir_fd=entry.folder)
            self._take(cost(entry.found))
            self._head(info)

    def _add_file(self, entry: TreeEntry, info: tarfile.TarInfo) -> None:
        which = (entry.found.st_dev, entry.found.st_ino)
        if entry.found.st_nlink > 1 and which in self._first:
            info.type, info.linkname, info.size = tarfile.LNKTYPE, self._first[which], 0
            self._take(0)
            self._head(info)
            return
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            fd = os.open(entry.name, flags, dir_fd=entry.folder)
        except PermissionError:
            self.skipped += 1
            return
        try:
            self._copy(fd, entry, info)
        finally:
            os.close(fd)
        self._first[which] = entry.path

    def _copy(self, fd: int, entry: TreeEntry, info: tarfile.TarInfo) -> None:
        if not os.path.samestat(os.fstat(fd), entry.found):
            raise Unfit("a file was replaced while it was packed")
        self._take(cost(entry.found))
        self._head(info)
        left = info.size
        while left:
            chunk = os.read(fd, min(left, CHUNK))
            if not chunk:
                raise Unfit("a file was cut while it was packed")
            self._out.write(chunk)
            left -= len(chunk)
        self._out.write(tarfile.NUL * (-info.size % tarfile.BLOCKSIZE))

    def _head(self, info: tarfile.TarInfo) -> None:
        self._out.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    def _take(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise Unfit("the files are larger than the disk limit, written out in full")


def _info(entry: TreeEntry) -> tarfile.TarInfo:
    """The tar header of an entry, without its owner: the unpacked files get a new one."""
    mode = entry.found.st_mode
    info = tarfile.TarInfo(entry.path)
    info.mode = stat.S_IMODE(mode) & 0o777
    info.mtime = int(entry.found.st_mtime)
    if stat.S_ISDIR(mode):
        info.type = tarfile.DIRTYPE
    elif stat.S_ISLNK(mode):
        info.type = tarfile.SYMTYPE
    else:
        info.size = entry.found.st_size
    return info
