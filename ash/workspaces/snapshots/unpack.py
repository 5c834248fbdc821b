"""Unpacks archives that `pack` made, and refuses hostile ones. Blocks, for long."""

import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from ash.workspaces.copy_program import MAX_DEPTH
from ash.workspaces.snapshots.walk import FOLDER_FLAGS, LEAST_COST

CHUNK = 1024 * 1024

# The longest path that the kernel accepts (linux/limits.h), so `pack` makes no longer names.
MAX_NAME = 4096

# The window size that every decompressor should support (RFC 8878, 3.1.1.1.2); bounds memory.
MAX_WINDOW = 8 * 1024 * 1024


class Damaged(Exception):
    """The archive is not complete, or not one of ours. The text is for the log."""


def unpack(archive: Path, target: Path, tops: Iterable[str], *, limit: int) -> None:
    """Unpacks into the new folder `target`; if it fails, the caller removes what is there.

    At most `limit` bytes are written in all. Links are made and never followed. Raises Damaged for
    anything that `pack` would not write: absolute paths, `..`, paths outside of `tops` or through
    a link, devices, hard links to anything but a file of this archive, a missing top.
    """
    import zstandard

    target.mkdir(mode=0o700)
    root = os.open(target, FOLDER_FLAGS)
    try:
        with archive.open("rb") as file:
            unzip = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW)
            with unzip.stream_reader(file, read_size=CHUNK) as stream:
                _Reader(root, set(tops), limit, _exactly(stream.read)).run()
    except zstandard.ZstdError as error:
        raise Damaged(f"not what zstd writes: {error}") from None
    except (tarfile.TarError, OverflowError) as error:
        raise Damaged(f"not a tar archive: {error}") from None
    finally:
        os.close(root)


def _exactly(read: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def exactly(amount: int) -> bytes:
        parts = []
        while amount:
            part = read(amount)
            if not part:
                raise Damaged("it ends too early")
            parts.append(part)
            amount -= len(part)
        return b"".join(parts)

    return exactly


class _Reader:
    def __init__(self, root: int, tops: set[str], limit: int, read: Callable[[int], bytes]) -> None:
        self._root = root
        self._tops = tops
        self._left = limit
        self._read = read
        self._files: set[str] = set()
        self._folders: list[tuple[str, int, float]] = []

    def run(self) -> None:
        while (info := self._next()) is not None:
            self._take(max(info.size, LEAST_COST))
            parts = self._checked(info.name)
            parent = self._open(parts[:-1])
            try:
                self._make(info, "/".join(parts), parent, parts[-1])
            finally:
                os.close(parent)
        if not self._tops <= {path for path, _, _ in self._folders}:
            raise Damaged("a folder is missing")
        for path, mode, when in reversed(self._folders):
            self._finish_folder(path, mode, when)

    def _next(self) -> tarfile.TarInfo | None:
        """The next member; a long name comes before it, as a member of its own."""
        name = link = None
        while True:
            head = self._read(tarfile.BLOCKSIZE)
            if not head.strip(tarfile.NUL):
                return None
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
            if info.size < 0:
                raise Damaged("a size is negative")
            if info.type == tarfile.GNUTYPE_LONGNAME:
                name = self._long_name(info)
            elif info.type == tarfile.GNUTYPE_LONGLINK:
                link = self._long_name(info)
            else:
                info.name = name or info.name
                info.linkname = link or info.linkname
                return info

    def _long_name(self, info: tarfile.TarInfo) -> str:
        if info.size > MAX_NAME + 1:
            raise Damaged("a name is too long")
        self._take(LEAST_COST)
        return os.fsdecode(self._content(info.size).partition(tarfile.NUL)[0])

    def _content(self, size: int) -> bytes:
        content = self._read(size)
        self._read(-size % tarfile.BLOCKSIZE)
        return content

    def _checked(self, name: str) -> list[str]:
        parts = name.rstrip("/").split("/")
        if parts[0] not in self._tops or any(part in {"", ".", ".."} for part in parts):
            raise Damaged("a path leads elsewhere")
        if len(parts) > MAX_DEPTH + 2:
            raise Damaged("a path is too deep")
        return parts

    def _open(self, parts: list[str]) -> int:
        """A descriptor of a folder that this archive has made; never follows a link."""
        here = os.dup(self._root)
        try:
            for part in parts:
                below = os.open(part, FOLDER_FLAGS, dir_fd=here)
                os.close(here)
                here = below
        except OSError as error:
            os.close(here)
            raise Damaged(f"no folder for what lies in it: {error.strerror}") from None
        return here

    def _make(self, info: tarfile.TarInfo, path: str, parent: int, name: str) -> None:
        try:
            if info.isdir():
                os.mkdir(name, 0o700, dir_fd=parent)
                self._folders.append((path, info.mode & 0o777 | 0o700, info.mtime))
            elif info.type == tarfile.REGTYPE:
                self._write(info, parent, name)
                self._files.add(path)
            elif info.issym():
                os.symlink(info.linkname, name, dir_fd=parent)
            elif info.type == tarfile.LNKTYPE and info.linkname in self._files:
                self._link(info.linkname, parent, name)
            else:
                raise Damaged("a member is neither file, folder nor link of this archive")
        except (FileExistsError, ValueError) as error:
            raise Damaged(f"a member can't be made: {error}") from None

    def _write(self, info: tarfile.TarInfo, parent: int, name: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb") as file:
            left = info.size
            while left:
                chunk = self._read(min(left, CHUNK))
                file.write(chunk)
                left -= len(chunk)
            file.flush()
            os.fchmod(fd, info.mode & 0o777)
            os.utime(fd, (info.mtime, info.mtime))
        self._read(-info.size % tarfile.BLOCKSIZE)

    def _link(self, earlier: str, parent: int, name: str) -> None:
        *folders, source = earlier.split("/")
        folder = self._open(folders)
        try:
            os.link(source, name, src_dir_fd=folder, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(folder)

    def _finish_folder(self, path: str, mode: int, when: float) -> None:
        fd = self._open(path.split("/"))
        try:
            os.fchmod(fd, mode)
            os.utime(fd, (when, when))
        finally:
            os.close(fd)

    def _take(self, amount: int) -> None:
        self._left -= amount
        if self._left < 0:
            raise Damaged("it holds more than the disk limit allows")
