"""Copies of folders contain nothing from outside of them."""

import errno
import os
import socket

import pytest

from ash.errors import BadRequest, Unavailable
from ash.workspaces.copy import copy_tree, remove_tree


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "CLAUDE.md").write_text("be kind")
    return folder


@pytest.fixture
def target(tmp_path):
    return tmp_path / "elsewhere" / "target"


@pytest.fixture(autouse=True)
def parent(target):
    target.parent.mkdir()


def test_copy_has_all_files(source, target):
    """Files with their mode, empty folders and hidden files are copied."""
    script = source / "sub" / ".hidden.sh"
    script.write_bytes(b"\x00\xff")
    script.chmod(0o750)
    copy_tree(source, target)
    assert "be kind" == (target / "CLAUDE.md").read_text()
    assert (target / "sub" / "deep").is_dir()
    copied = target / "sub" / ".hidden.sh"
    assert (b"\x00\xff", 0o750) == (copied.read_bytes(), copied.stat().st_mode & 0o777)


@pytest.mark.parametrize(
    ("place", "leads_to"),
    [
        ("link", "CLAUDE.md"),
        ("sub/link", "../CLAUDE.md"),
        ("sub/deep/link", "../.."),
        ("link", "not/there"),
        ("link", "link"),
    ],
    ids=["file", "up", "to the top", "dangling", "to itself"],
)
def test_link_that_stays_inside_is_copied_as_a_link(source, target, place, leads_to):
    """A link inside is copied as a link, not as its target."""
    (source / place).symlink_to(leads_to)
    copy_tree(source, target)
    assert leads_to == str((target / place).readlink())


@pytest.mark.parametrize(
    ("place", "leads_to"),
    [
        ("link", "/etc/passwd"),
        ("link", "../secret"),
        ("link", ".."),
        ("sub/deep/link", "../../../secret"),
        ("link", "sub/../../secret"),
        ("link", "/"),
        ("link", "../source/CLAUDE.md"),
        ("link", "../not-there"),
    ],
)
def test_link_that_leads_out_is_refused(source, target, place, leads_to):
    """A link that leads out, even if it comes back, is refused, and no copy is left."""
    (source.parent / "secret").write_text("s3cret")
    (source / place).symlink_to(leads_to)
    with pytest.raises(BadRequest, match=f'The link "{place}" leads out'):
        copy_tree(source, target)
    assert not target.exists()


def test_link_that_leads_out_by_another_link_is_refused(source, target):
    """A link is followed through other links to its end."""
    (source / "sub" / "out").symlink_to("../..")
    (source / "link").symlink_to("sub/out/secret")
    with pytest.raises(BadRequest, match="leads out"):
        copy_tree(source, target)


def test_absolute_link_inside_is_refused(source, target):
    """An absolute link into the folder is refused, because it leads out of the copy."""
    (source / "link").symlink_to(source / "CLAUDE.md")
    with pytest.raises(BadRequest, match="leads out"):
        copy_tree(source, target)


def test_pipe_or_socket_is_refused(source, target):
    """A pipe or a socket is refused, without opening it."""
    os.mkfifo(source / "sub" / "pipe")
    with pytest.raises(BadRequest, match='"sub/pipe" is neither a file nor a folder'):
        copy_tree(source, target)
    (source / "sub" / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(source / "sock"))
    with pytest.raises(BadRequest, match='"sock" is neither a file nor a folder'):
        copy_tree(source, target)
    assert not target.exists()


def test_copy_that_fails_leaves_nothing(source, target, monkeypatch):
    """A disk that becomes full during the copy is an error, and no copy is left."""

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(Unavailable, match="it is full"):
        copy_tree(source, target)
    assert not target.exists()


def test_folder_that_is_there_is_not_copied_over(source, target):
    """An existing target is an error and stays unchanged."""
    target.mkdir()
    (target / "mine").touch()
    with pytest.raises(FileExistsError):
        copy_tree(source, target)
    assert [target / "mine"] == list(target.iterdir())


def test_links_are_removed_and_not_followed(source, target):
    """Removing a folder does not touch the targets of its links."""
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "link").symlink_to(source)
    remove_tree(target)
    assert not target.exists()
    assert (source / "CLAUDE.md").exists()


def test_removing_a_missing_folder_is_fine(target):
    """Removing a folder that does not exist is no error."""
    remove_tree(target)
    assert not target.exists()
