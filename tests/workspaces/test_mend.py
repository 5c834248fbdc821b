"""The two folders of a session, as an agent may leave them, before a new sandbox gets them."""

import pytest

from ash.workspaces.mend import mend
from ash.workspaces.workspaces import HostPaths


@pytest.fixture
def paths(tmp_path):
    root = tmp_path / "session"
    paths = HostPaths(root / "workspace", root / "home", root / "sockets")
    for folder in (paths.workspace, paths.home):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    return paths


def test_folders_in_order_are_left_alone(paths):
    """Whatever others may do with them."""
    paths.home.chmod(0o755)
    assert [] == mend(paths)
    assert 0o755 == paths.home.stat().st_mode & 0o777


def test_closed_folder_is_opened(paths):
    """For its owner, and for nobody else."""
    paths.workspace.chmod(0o050)
    assert ["The session's workspace was closed to its owner and was opened again"] == mend(paths)
    assert 0o750 == paths.workspace.stat().st_mode & 0o777


def test_folder_that_is_gone_is_made(paths):
    """It is empty."""
    (paths.home / "file").unlink()
    paths.home.rmdir()
    assert ["The session's home was gone; it is empty now"] == mend(paths)
    assert [] == list(paths.home.iterdir())


def test_link_in_the_place_of_a_folder_is_not_followed(paths, tmp_path):
    """What it leads to stays as it is, and the sandbox gets an empty folder."""
    other = tmp_path / "other"
    other.mkdir(mode=0o500)
    paths.home.rename(tmp_path / "before")
    paths.home.symlink_to(other)
    text = "The session's home was no folder and was renamed to home.broken; it is empty now"
    assert [text] == mend(paths)
    assert 0o500 == other.stat().st_mode & 0o777
    assert other == paths.home.with_name("home.broken").readlink()
    assert ([], False) == (list(paths.home.iterdir()), paths.home.is_symlink())


def test_file_in_the_place_of_a_folder_is_set_aside(paths, tmp_path):
    """And a second one beside it."""
    for kept in ("home.broken", "home.broken1"):
        paths.home.rename(tmp_path / kept)
        paths.home.write_text("mine")
        assert [f"renamed to {kept}" in text for text in mend(paths)]
        assert "mine" == paths.home.with_name(kept).read_text()
