"""Makes the copy of an agent's folder that its sessions start from. Blocks: use a thread."""

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from ash.agent_files.env_file import read_env
from ash.agent_files.executables import find_scripts, hook_programs, make_executable
from ash.agent_files.sent_files import SentFile, write_sent
from ash.agent_files.survey import FolderEntry, survey
from ash.errors import BadRequest, TooLarge
from ash.file_names import spelled
from ash.folder_check import PROMPT_FILE
from ash.workspaces.copy import check_links, remove_tree
from ash.workspaces.copy_program import copy_contents, copy_metadata
from ash.workspaces.safe_open import open_folder, open_unlinked

CHANGED = "path: the folder was changed while it was copied: deploy it again"
_UNREADABLE = {errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class Arrival(Struct):
    """What is to be said about the folder; and the variables of its `.env`, None if it has none."""

    warnings: list[str]
    env: dict[str, str] | None = None


def take_folder(source: Path, copy: Path, most_mb: int | None = None) -> Arrival:
    """Copies what travels of `source`, which must be resolved, to `copy`, which must not exist.

    Raises BadRequest for a link that leads out of the folder, TooLarge for files of more than
    `most_mb` together, and then leaves nothing.
    """
    folder = _open(source)
    try:
        _make_folder(copy)
        return _take(source, folder, copy, most_mb)
    except BaseException as error:
        remove_tree(copy)
        if isinstance(error, OSError) and (refusal := _refusal(error, source)):
            raise refusal from None
        raise
    finally:
        os.close(folder)


def take_sent(files: Sequence[SentFile], copy: Path, most_mb: int | None = None) -> Arrival:
    """Does the same with the files of an upload."""
    sent = copy.with_name(f"{copy.name}.sent")
    sent.mkdir(mode=0o700)
    try:
        write_sent(files, sent)
        if not (sent / PROMPT_FILE).is_file():
            raise BadRequest(f"files: {PROMPT_FILE} is missing; an agent needs it")
        return take_folder(sent, copy, most_mb)
    finally:
        remove_tree(sent)


def _open(source: Path) -> int:
    """A descriptor of the folder, from which all else is opened: its path may become another's.

    Raises BadRequest if a part of the path has become a link meanwhile.
    """
    try:
        folder = open_folder(source)
    except OSError:
        raise BadRequest(CHANGED) from None
    if Path(f"/proc/self/fd/{folder}").readlink() != source:
        os.close(folder)
        raise BadRequest(CHANGED)
    return folder


def _take(source: Path, folder: int, copy: Path, most_mb: int | None) -> Arrival:
    found = survey(source, folder)
    env = None if found.env is None else read_env(found.env)
    size = _Size(most_mb)
    for entry in found.entries:
        _copy(entry, folder, copy, size)
    check_links(copy)
    if not (copy / PROMPT_FILE).is_file():
        raise BadRequest(f"{PROMPT_FILE} is left out, but an agent needs it")
    return Arrival(found.warnings + _make_executable(copy), env)


class _Size:
    """Adds up what is copied, by lengths: a file's holes may take room in its copy."""

    def __init__(self, most_mb: int | None) -> None:
        self._most_mb = most_mb
        self._copied = 0

    def add(self, length: int) -> None:
        """Raises TooLarge, before the file is copied."""
        self._copied += length
        if self._most_mb is not None and self._copied > self._most_mb * 1024**2:
            raise TooLarge(
                f"The folder has more than {self._most_mb} MB, which is what a sandbox of this"
                " server may have (sandbox_disk_mb): leave some of it out (.ashignore)"
            )


def _make_folder(path: Path) -> None:
    """Makes a folder, with the same mode whatever the original's and the daemon's umask are."""
    path.mkdir()
    path.chmod(0o755)


def _copy(entry: FolderEntry, folder: int, copy: Path, size: _Size) -> None:
    target = copy / entry.path
    if entry.kind == "folder":
        _make_folder(target)
    elif entry.kind == "link":
        target.symlink_to(entry.target)
    else:
        with _opened(folder, entry.path) as original:
            _copy_file(original, target, size)


@contextmanager
def _opened(folder: int, path: str) -> Iterator[int]:
    """A file of the source, by its own name: what has become a link is not followed."""
    try:
        fd = open_unlinked(folder, path, os.O_RDONLY)
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
        raise BadRequest(f'"{spelled(path)}" can\'t be read: {error.strerror}') from None
    try:
        yield fd
    finally:
        os.close(fd)


def _copy_file(original: int, target: Path, size: _Size) -> None:
    found = os.fstat(original)
    if not stat.S_ISREG(found.st_mode):
        raise BadRequest(CHANGED)
    size.add(found.st_size)
    copy = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        copy_contents(original, copy, found)
        copy_metadata(copy, found)
        # Its owner can read it: the CLI leaves out settings that it can't read, their deny rules
        # too, without a word.
        os.fchmod(copy, found.st_mode & 0o777 | 0o400)
    finally:
        os.close(copy)


def _refusal(error: OSError, source: Path) -> BadRequest | None:
    """The error for a file of the source that can't be read, or that has just vanished."""
    if error.errno == errno.ENAMETOOLONG:
        return BadRequest("Its folders are nested too deeply")
    path = Path(error.filename or "/")
    if error.errno in _UNREADABLE and path.is_relative_to(source):
        name = spelled(str(path.relative_to(source)))
        return BadRequest(f'"{name}" can\'t be read: {error.strerror}')
    return None


def _make_executable(copy: Path) -> list[str]:
    """Makes hooks and scripts of skills executable, and says which were not."""
    root = open_folder(copy)
    try:
        paths = {*find_scripts(copy), *hook_programs(root)}
        changed = make_executable(root, sorted(paths))
    finally:
        os.close(root)
    return [f"{spelled(path)}: made executable, so that Claude can run it" for path in changed]
