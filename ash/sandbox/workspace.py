"""The folders of sessions below the data directory. Everything here blocks: use a thread."""

from pathlib import Path

from ash.sandbox.isolation import Place
from ash.sandbox.tree import copy_tree, remove_tree


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
        return Place(root / "workspace", root / "home")

    def keep(self, session_id: str) -> None:
        """Puts away what a sandbox that has ended leaves behind."""
        live, kept = self._live / session_id, self._kept / session_id
        if not live.is_dir():
            return
        remove_tree(kept)
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        live.replace(kept)

    def discard(self, session_id: str) -> None:
        """Removes what a sandbox that no session has claimed leaves behind."""
        remove_tree(self._live / session_id)

    def keep_all(self) -> None:
        """Puts away what a daemon that crashed left: no sandbox has survived it."""
        if self._live.is_dir():
            for root in list(self._live.iterdir()):
                self.keep(root.name)
