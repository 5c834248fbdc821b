"""The folders of sessions below the data directory. Everything here blocks: use a thread."""

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
from ash.errors import NotFound
from ash.log import get_logger
from ash.workspaces import copy_program
from ash.workspaces.copy import copy_tree, remove_tree
from ash.workspaces.disk_errors import disk_in_words
from ash.workspaces.safe_open import open_folder

log = get_logger()

FilesLocation = Literal["sandbox", "snapshot"]

# Beside the workspace until what is to be installed has been: it begins anew otherwise.
UNINSTALLED = "uninstalled"

# What is made is made under such a name first: who is killed meanwhile leaves nothing half.
FRESH = ".new"

# A session may move to the other folder and back between two looks; not more often than this.
_LOOKS = 3


class HostPaths(Struct, frozen=True):
    """A sandbox's own folders on the host. Nothing else of the host may be written.

    `sockets` is for the Unix sockets that lead out; it can't be changed from inside.
    `uid` is the host user that the folders belong to, None where that is the daemon's own.
    """

    workspace: Path
    home: Path
    sockets: Path
    uid: int | None = None


class Workspaces:
    """Live sessions have their folders in `sandboxes/<id>`, the others in `sessions/<id>`.

    What can't be put away stays with the live ones, and is found there. Where the disk takes no
    writes, Unavailable is raised.
    """

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir / SANDBOXES
        self._kept = data_dir / SESSIONS

    def prepare(self, session_id: str, source: Path) -> HostPaths:
        """A fresh workspace with a copy of the agent's files, and an empty home."""
        root = self._live / session_id
        with _made_whole(root) as fresh:
            copy_tree(source, fresh / "workspace")
            (fresh / "home").mkdir()
            (fresh / UNINSTALLED).touch()
        return _paths(root)

    def restore(self, session_id: str) -> HostPaths | None:
        """What was kept of the session, if anything was."""
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
        """A copy of what the parent has, kept for the session; blocks shared where they can be.

        The parent may run: what vanishes while it is copied is left out. Links are copied as
        links, never followed. Raises NotFound if the parent has no files, OSError.
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
        """Of a sandbox that has ended: keeps what is a session's, removes what is nobody's.

        Whether it keeps something. What can't be moved now is found where it is.
        """
        try:
            if claimed:
                return self.keep(session_id)
            self.discard(session_id)
        except OSError as error:
            log.warning("sandbox.move_failed", sandbox=session_id, why=error.strerror)
        return False

    def keep(self, session_id: str) -> bool:
        """Moves what a sandbox that has ended leaves behind; whether there was anything.

        Raises OSError, and leaves it where it was then.
        """
        live, kept = self._live / session_id, self._kept / session_id
        if not live.is_dir():
            return False
        remove_tree(kept)
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A daemon that was killed has left a socket there that leads nowhere.
        remove_tree(live / "sockets")
        live.replace(kept)
        return True

    def drop(self, session_id: str) -> None:
        """Removes what was kept."""
        remove_tree(self._kept / session_id)

    def discard(self, session_id: str) -> None:
        """Removes what a sandbox that no session has claimed leaves behind."""
        remove_tree(self._live / session_id)

    @contextmanager
    def opened(self, session_id: str) -> Iterator[tuple[int, FilesLocation]]:
        """A descriptor of the session's workspace, wherever it is; it stays that if it moves.

        Raises NotFound if there is none.
        """
        root, source = self._open(session_id)
        try:
            yield root, source
        finally:
            os.close(root)

    def live(self, session_id: str) -> Path:
        """Where the session's workspace is while it has a sandbox."""
        return _paths(self._live / session_id).workspace

    def has(self, session_id: str, root: int) -> bool:
        """Whether the descriptor still is of the session's workspace."""
        try:
            with self.opened(session_id) as (now, _):
                return os.path.samestat(os.fstat(now), os.fstat(root))
        except NotFound:
            return False

    def left(self) -> list[str]:
        """Whose folders a daemon that crashed left as those of live sandboxes: none of them is."""
        return _names(self._live)

    def kept(self) -> list[str]:
        """Whose folders were put away; those of sessions that a fork did not come to are there."""
        return _names(self._kept)

    def kept_since(self, session_id: str) -> float:
        """When it was put away; 0 for what was not finished, and is nobody's."""
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
    """A folder to fill, which becomes `root` when it has been."""
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
    parts = [str(source / name) for name in ("workspace", "home")]
    copy = [sys.executable, "-I", "-S", copy_program.__file__, str(target), *parts]
    done = subprocess.run(copy, capture_output=True, text=True, check=False)
    if done.returncode:
        number, _, why = done.stderr.strip().partition(" ")
        raise OSError(int(number) if number.isdecimal() else errno.EINVAL, why)


def _names(folder: Path) -> list[str]:
    return [root.name for root in folder.iterdir()] if folder.is_dir() else []


def _paths(root: Path) -> HostPaths:
    return HostPaths(root / "workspace", root / "home", root / "sockets")
