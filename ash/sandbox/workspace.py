"""The folders of sessions below the data directory. Everything here blocks: use a thread."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ash.errors import NotFound
from ash.sandbox import copying
from ash.sandbox.beneath import open_folder
from ash.sandbox.isolation import Place
from ash.sandbox.tree import copy_tree, remove_tree

Source = Literal["sandbox", "snapshot"]

# A session may move to the other folder and back between two looks; not more often than this.
_LOOKS = 3


class Workspaces:
    """Live sessions have their folders in `sandboxes/<id>`, the others in `sessions/<id>`."""

    def __init__(self, data_dir: Path) -> None:
        self._live = data_dir / "sandboxes"
        self._kept = data_dir / "sessions"

    def prepare(self, session_id: str, source: Path) -> Place:
        """A fresh workspace with a copy of the agent's files, and an empty home."""
        root = self._live / session_id
        root.mkdir(mode=0o700, parents=True)
        copy_tree(source, root / "workspace")
        (root / "home").mkdir()
        return _place(root)

    def restore(self, session_id: str) -> Place | None:
        """What was kept of the session, if anything was."""
        live, kept = self._live / session_id, self._kept / session_id
        if not kept.is_dir():
            return None
        self._live.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept.replace(live)
        return _place(live)

    def fork(self, parent_id: str, session_id: str) -> None:
        """A copy of what the parent has, kept for the session; blocks shared where they can be.

        The parent may run: what vanishes while it is copied is left out. Links are copied as
        links, never followed. Raises NotFound if the parent has no files, OSError.
        """
        target = self._kept / session_id
        for source in (self._live / parent_id, self._kept / parent_id) * _LOOKS:
            if not source.is_dir():
                continue
            target.mkdir(mode=0o700, parents=True)
            parts = [str(source / name) for name in ("workspace", "home")]
            copy = [sys.executable, "-I", "-S", copying.__file__, str(target), *parts]
            done = subprocess.run(copy, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            remove_tree(target)
            if source.is_dir():
                raise OSError(done.stderr.strip())
        raise NotFound("This session has no files any more")

    def keep(self, session_id: str) -> bool:
        """Puts away what a sandbox that has ended leaves behind; whether there was anything."""
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
    def opened(self, session_id: str) -> Iterator[tuple[int, Source]]:
        """A descriptor of the session's workspace, wherever it is; it stays that if it moves.

        Raises NotFound if there is none.
        """
        root, source = self._open(session_id)
        try:
            yield root, source
        finally:
            os.close(root)

    def has(self, session_id: str, root: int) -> bool:
        """Whether the descriptor still is of the session's workspace."""
        try:
            with self.opened(session_id) as (now, _):
                return os.path.samestat(os.fstat(now), os.fstat(root))
        except NotFound:
            return False

    def left(self) -> list[str]:
        """Whose folders a daemon that crashed left as those of live sandboxes: none of them is."""
        return [root.name for root in self._live.iterdir()] if self._live.is_dir() else []

    def _open(self, session_id: str) -> tuple[int, Source]:
        places: list[tuple[Path, Source]] = [(self._live, "sandbox"), (self._kept, "snapshot")]
        for place, source in places * _LOOKS:
            try:
                return open_folder(place / session_id / "workspace"), source
            except FileNotFoundError:
                continue
        raise NotFound("This session has no files any more")


def _place(root: Path) -> Place:
    return Place(root / "workspace", root / "home", root / "sockets")
