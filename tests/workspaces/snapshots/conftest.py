"""Fixtures for snapshots: files of a session, and a clock."""

import time
from pathlib import Path

import pytest
from msgspec import Raw

from ash.workspaces.snapshots.snapshot_store import Subject
from ash.workspaces.snapshots.snapshots import Snapshots, SnapshotSource
from tests.support.folder_store import FolderStore

MB = 1024 * 1024
TOPS = ("home", "workspace")


class Generation:
    """Folders of a session, as they are after its sandbox has ended."""

    def __init__(self, root: Path) -> None:
        self.workspace, self.home = root / "workspace", root / "home"
        self.workspace.mkdir(parents=True)
        self.home.mkdir()

    @property
    def tops(self):
        return {"workspace": self.workspace, "home": self.home}

    @property
    def paths(self):
        return {name: str(path) for name, path in self.tops.items()}

    def source(self, about=b"1", limit=MB):
        return SnapshotSource(tops=self.tops, limit=limit, lean=True, about=Raw(about))


@pytest.fixture
def generation(tmp_path):
    return Generation(tmp_path / "generation")


@pytest.fixture
def subject():
    return Subject("sessions", "a tenant", "an-id")


@pytest.fixture
def folder(tmp_path):
    return FolderStore(tmp_path / "store")


class Now:
    """The time of day, which a test sets."""

    def __init__(self) -> None:
        self.time = time.time()

    def __call__(self) -> float:
        self.time += 0.01
        return self.time


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def snapshots(folder, tmp_path, now):
    return Snapshots(folder, tmp_path / "scratch", now)
