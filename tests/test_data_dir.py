"""The data directory has one owner at a time."""

from pathlib import Path

import pytest

from ash.data_dir import OWNER_FILE, absolute, owned
from ash.errors import StartError


def test_lock_that_is_deleted(tmp_path):
    """The directory stays locked when somebody deletes the file that names its owner."""
    with owned(tmp_path, "Another ashd"):
        (tmp_path / OWNER_FILE).unlink()
        with (
            pytest.raises(StartError, match="uses the data directory"),
            owned(tmp_path, "A second"),
        ):
            pass
    with owned(tmp_path, "The next"):
        pass


def test_path_that_is_not_utf8():
    """It is refused in words: the database and the CLI need paths that are text."""
    with pytest.raises(StartError) as refused:
        absolute(Path("/srv/caf\udce9"))
    assert r"The data directory /srv/caf\xe9 is not UTF-8: rename it" == refused.value.text


def test_working_directory_that_was_deleted(tmp_path, monkeypatch):
    """A relative path leads nowhere then, and the error says so."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(StartError, match="relative to a working directory that was deleted"):
        absolute(Path("data"))
    assert Path("/srv/data") == absolute(Path("/srv/data"))
