"""What is free on the disk, and what happens below the floor."""

import os
from types import SimpleNamespace

import pytest

from ash.errors import Unavailable
from ash.limits import FreeSpace
from ash.limits.amounts import MB


@pytest.fixture
def disk(monkeypatch):
    """`disk(total, free)`: every disk has so many MB, a tenth of the rest is root's alone."""

    def have(total, free):
        found = SimpleNamespace(
            f_blocks=total, f_bfree=free + (total - free) // 10, f_bavail=free, f_frsize=MB
        )
        monkeypatch.setattr(os, "statvfs", lambda _: found)

    return have


def test_room_above_the_floor_is_enough(disk, tmp_path):
    """With as much free as the floor, everything goes on."""
    disk(100_000, 1024)
    space = FreeSpace(tmp_path, 1024)
    space.check()
    assert {"freeMb": 1024, "floorMb": 1024} == space.health()


def test_room_below_the_floor_is_refused_in_words(disk, tmp_path):
    """With less, the error says how much has to be free, and when to try again."""
    disk(100_000, 1023)
    with pytest.raises(Unavailable, match="less than 1024 MB free") as refused:
        FreeSpace(tmp_path, 1024).check()
    assert "30" == refused.value.headers["Retry-After"]


def test_floor_of_a_small_disk_is_a_tenth_of_it(disk, tmp_path):
    """Else nothing would ever begin on a disk that is smaller than the floor."""
    disk(640, 70)
    space = FreeSpace(tmp_path, 1024)
    space.check()
    assert 64 == space.floor_mb()


def test_floor_of_zero_is_none(disk, tmp_path):
    """A full disk then says so itself, when it is written to."""
    disk(100_000, 0)
    FreeSpace(tmp_path, 0).check()


def test_disk_that_is_gone_is_told_by_whoever_writes(tmp_path):
    """Asking for its room is no error."""
    space = FreeSpace(tmp_path / "gone", 1024)
    space.check()
    assert {} == space.health()
