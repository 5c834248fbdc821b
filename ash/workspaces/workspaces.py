"""The folders of sessions below the data directory. All functions block: use a thread."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ash.data_dir import SANDBOXES, SESSIONS
from ash.errors import Conflict, NotFound
from ash.log import get_logger
from ash.workspaces import copy_program
from ash.workspaces.copy import copy_tree, remove_tree
from ash.workspaces.disk_errors import disk_in_words
from ash.workspaces.safe_open import open_folder

log = get_logger()

FilesLocation = Literal["sandbox", "snapshot"]

# A marker file next to the workspace, until the agent's install.sh has succeeded. While it is
# there, the next start of the session runs install.sh again.
UNINSTALLED = "uninstalled"

# The suffix of a folder while it is being filled; it is renamed when complete. So a daemon that is
# killed meanwhile leaves no incomplete folder under a session's id.
FRESH = ".new"

# Errors of a copy that only the agent whose files are copied can cause.
_NOT_NOW = {
    errno.EAGAIN: "A program of the session keeps others from opening a file (a lease): try again",
    errno.ENAMETOOLONG: f"The session's folders are nested more than {copy_program.MAX_DEPTH} deep:"
    " remove what is below, and try again",
}

# How often both places are tried, since a session's folders may move while we look for them.
_LOOKS = 3


class HostPaths(Struct, frozen=True):
    """A sandbox's own folders on the host; it can write `workspace` and `home`, and nothing else.

    `sockets` holds the Unix sockets that lead out. `uid` is the host user that owns the folders,
    or None if that is the daemon's own user.
    """

    workspace: Path
    home: Path
    sockets: Path
    uid: int | None = None


class Workspaces:
    """The folders: `sandboxes/<id>` of live sandboxes, `sessions/<id>` of other sessions.

    A session's folders that can't be moved after its sandbox has ended stay in `sandboxes` and are
    found there. If the disk can't be written, methods raise Unavailable.
    """

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir / SANDBOXES
        self._kept = data_dir / SESSIONS

    def prepare(self, session_id: str, source: Path) -> HostPaths:
        """Makes a workspace with a copy of the agent's files, and an empty home."""
        root = self._live / session_id
        with _made_whole(root) as fresh:
            copy_tree(source, fresh / "workspace")
            (fresh / "home").mkdir()
            (fresh / UNINSTALLED).touch()
        return _paths(root)

    def restore(self, session_id: str) -> HostPaths | None:
        """Moves a session's kept folders to the live ones; None if the session has none."""
        live, kept = self._live / session_id, self._kept / session_id
        if live.is_dir():
            return _paths(live)
        if not kept.is_dir():
            return None
        with disk_in_words(own=True):
            self._live.mkdir(mode=0o700, parents=True, exist_ok=True)
            kept.replace(live)
        return _paths(live)

    def fork(self, parent_id: str, session_id: str) -> None:
        """Copies the parent's folders for the session, sharing blocks if the file system can.

        The parent may be running: files that vanish during the copy are left out. Links are
        copied as links. Raises NotFound if the parent has no files, Conflict for what its agent is
        doing to them, and OSError.
        """
        for source in (self._live / parent_id, self._kept / parent_id) * _LOOKS:
            if not source.is_dir():
                continue
            try:
                with _made_whole(self._kept / session_id) as fresh:
                    _copy_parts(source, fresh)
                    if (source / UNINSTALLED).exists():
                        (fresh / UNINSTALLED).touch()
            except OSError:
                if source.is_dir():
                    raise
            else:
                return
        raise NotFound("This session has no files any more")

    def put_away(self, session_id: str, *, claimed: bool) -> bool:
        """After a sandbox has ended: keeps its folders if a session claimed it, else removes them.

        Returns whether it kept something. Folders that can't be moved stay where they are.
        """
        try:
            if claimed:
                return self.keep(session_id)
            self.discard(session_id)
        except OSError as error:
            log.warning("sandbox.move_failed", sandbox=session_id, why=error.strerror)
        return False

    def keep(self, session_id: str) -> bool:
        """Moves the folders of an ended sandbox to the kept ones, if there are any.

        Returns whether there were any. Raises OSError, and then leaves them where they are.
        """
        live, kept = self._live / session_id, self._kept / session_id
        if not live.is_dir():
            return False
        remove_tree(kept)
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A daemon that was killed has left a dead socket there.
        remove_tree(live / "sockets")
        live.replace(kept)
        return True

    def drop(self, session_id: str) -> None:
        """Removes a session's kept folders."""
        remove_tree(self._kept / session_id)

    def discard(self, session_id: str) -> None:
        """Removes the folders of a sandbox that no session claimed."""
        remove_tree(self._live / session_id)

    @contextmanager
    def opened(self, session_id: str) -> Iterator[tuple[int, FilesLocation]]:
        """A descriptor of the session's workspace, and where it is; valid even if it moves.

        Raises NotFound if the session has no files.
        """
        root, source = self._open(session_id)
        try:
            yield root, source
        finally:
            os.close(root)

    def folders(self, session_id: str) -> list[Path]:
        """What of a session counts against its disk limit; nothing if it has no files."""
        for root in (self._live / session_id, self._kept / session_id):
            if root.is_dir():
                return [root / "workspace", root / "home"]
        return []

    def live(self, session_id: str) -> Path:
        """Where the session's workspace is while it has a sandbox."""
        return _paths(self._live / session_id).workspace

    def has(self, session_id: str, root: int) -> bool:
        """Whether the descriptor still belongs to the session's current workspace."""
        try:
            with self.opened(session_id) as (now, _):
                return os.path.samestat(os.fstat(now), os.fstat(root))
        except NotFound:
            return False

    def live_ids(self) -> list[str]:
        """The ids with folders among the live ones; at a start, those that a crash left there."""
        return _names(self._live)

    def kept_ids(self) -> list[str]:
        """The ids with kept folders, also of forks that were copied but never became a session."""
        return _names(self._kept)

    def kept_since(self, session_id: str) -> float:
        """When the folders were kept; 0 for an incomplete copy, which nobody will use."""
        if session_id.endswith(FRESH):
            return 0.0
        return (self._kept / session_id).stat().st_mtime

    def _open(self, session_id: str) -> tuple[int, FilesLocation]:
        places: list[tuple[Path, FilesLocation]] = [
            (self._live, "sandbox"),
            (self._kept, "snapshot"),
        ]
        for place, source in places * _LOOKS:
            try:
                return open_folder(place / session_id / "workspace"), source
            except FileNotFoundError:
                continue
        raise NotFound("This session has no files any more")


@contextmanager
def _made_whole(root: Path) -> Iterator[Path]:
    """Yields a new folder to fill, and renames it to `root` if the block succeeds."""
    fresh = root.with_name(root.name + FRESH)
    with disk_in_words(own=True):
        fresh.mkdir(mode=0o700, parents=True)
    try:
        with disk_in_words():
            yield fresh
        fresh.rename(root)
    except BaseException:
        remove_tree(fresh)
        raise


def _copy_parts(source: Path, target: Path) -> None:
    # A link in the place of one is not followed. The fork's resume says that it is not there.
    named = (source / name for name in ("workspace", "home"))
    parts = [str(part) for part in named if part.is_dir() and not part.is_symlink()]
    copy = [sys.executable, "-I", "-S", copy_program.__file__, str(target), *parts]
    done = subprocess.run(copy, capture_output=True, text=True, check=False)
    if done.returncode:
        number, _, why = done.stderr.strip().partition(" ")
        error = int(number) if number.isdecimal() else errno.EINVAL
        if text := _NOT_NOW.get(error):
            raise Conflict(text)
        raise OSError(error, why)


def _names(folder: Path) -> list[str]:
    return [root.name for root in folder.iterdir()] if folder.is_dir() else []


def _paths(root: Path) -> HostPaths:
    return HostPaths(root / "workspace", root / "home", root / "sockets")
