"""Packing a session's folders, and unpacking them again."""

import os
import socket
import stat

import pytest

from ash.workspaces.copy_program import MAX_DEPTH
from ash.workspaces.snapshots.pack import pack
from ash.workspaces.snapshots.unpack import unpack
from ash.workspaces.snapshots.walk import LEAST_COST, REBUILDABLE, Unfit, listing
from tests.workspaces.snapshots.conftest import MB, TOPS


@pytest.fixture
def packed(generation, tmp_path):
    """Packs; what is unpacked of it is in `tmp_path / "back"`."""

    def packed(*, lean=True, limit=MB):
        left_out = REBUILDABLE if lean else frozenset()
        archive = tmp_path / "archive"
        done = pack(generation.paths, archive, left_out=left_out, limit=limit)
        unpack(archive, tmp_path / "back", TOPS, limit=limit)
        return done, tmp_path / "back"

    return packed


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_come_back_as_they_were(generation, packed):
    """Content, mode, time, empty folders, and long or odd names are restored."""
    script = generation.workspace / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    script.chmod(0o750)
    os.utime(script, (1_000_000, 1_000_000))
    deep = generation.home / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    (deep / "large").write_bytes(os.urandom(300_000))
    odd = os.fsdecode(b"\xff\xfe")
    (generation.workspace / odd).touch()
    (generation.workspace / "empty").mkdir()
    _, back = packed()
    again = back / "workspace" / "run.sh"
    assert b"#!/bin/sh\n" == again.read_bytes()
    assert (0o750, 1_000_000) == (stat.S_IMODE(again.stat().st_mode), again.stat().st_mtime)
    large = deep.relative_to(generation.home) / "large"
    assert (deep / "large").read_bytes() == (back / "home" / large).read_bytes()
    assert ["empty", "run.sh", odd] == names(back / "workspace")


def test_links_are_packed_as_links(generation, packed, tmp_path):
    """The target of a link is not read, inside or out."""
    (tmp_path / "outside").write_text("a secret of the host")
    target = "x" * 300
    for name, to in [("out", tmp_path / "outside"), ("nowhere", target), ("folder", tmp_path)]:
        (generation.workspace / name).symlink_to(to)
    _, back = packed()
    assert str(tmp_path / "outside") == str((back / "workspace" / "out").readlink())
    assert target == str((back / "workspace" / "nowhere").readlink())
    assert (back / "workspace" / "folder").is_symlink()
    assert b"a secret" not in (tmp_path / "archive").read_bytes()


def test_top_that_is_a_link_is_not_followed(generation, packed, tmp_path):
    """A top that is a link is refused, since an agent may replace its own workspace."""
    generation.workspace.rmdir()
    generation.workspace.symlink_to("/etc")
    with pytest.raises(Unfit, match="changed while they were packed"):
        packed()


def test_file_with_two_names_is_packed_once(generation, packed):
    """A file with two names is packed, and counted, once."""
    content = os.urandom(600_000)
    (generation.workspace / "a").write_bytes(content)
    (generation.home / "b").hardlink_to(generation.workspace / "a")
    _, back = packed()
    assert content == (back / "workspace" / "a").read_bytes()
    assert (back / "home" / "b").samefile(back / "workspace" / "a")


def test_special_files_are_left_out(generation, packed):
    """Pipes and sockets are left out."""
    os.mkfifo(generation.workspace / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(generation.workspace / "socket"))
        (generation.workspace / "file").touch()
        _, back = packed()
    assert ["file"] == names(back / "workspace")


def test_setuid_is_not_packed(generation, packed):
    """Setuid and setgid bits are not restored."""
    program = generation.workspace / "su"
    program.touch()
    program.chmod(0o6755)
    _, back = packed()
    assert 0o755 == stat.S_IMODE((back / "workspace" / "su").stat().st_mode)


@pytest.mark.parametrize(
    ("lean", "expected"), [(True, ["kept"]), (False, ["kept", "node_modules"])]
)
def test_rebuildable_folders_are_left_out(generation, packed, lean, expected):
    """A lean pack leaves out rebuildable folders at any depth, but not files of that name."""
    project = generation.workspace / "project"
    (project / "node_modules" / "left-pad").mkdir(parents=True)
    (project / "kept").touch()
    (generation.home / ".cache").touch()
    _, back = packed(lean=lean)
    assert expected == names(back / "workspace" / "project")
    assert [".cache"] == names(back / "home")


def test_more_than_the_limit_is_not_packed(generation, packed):
    """The limit counts lengths, holes included, as unpacking will write them."""
    with (generation.workspace / "hole").open("wb") as file:
        file.truncate(MB)
    with pytest.raises(Unfit, match="larger than the disk limit"):
        packed(limit=MB)


def test_empty_files_count_too(generation, packed):
    """Each file and folder counts for its inode."""
    (generation.workspace / "empty").touch()
    packed(limit=3 * LEAST_COST)
    (generation.workspace / "another").touch()
    (generation.workspace.parent.parent / "archive").unlink()
    with pytest.raises(Unfit, match="larger than the disk limit"):
        packed(limit=3 * LEAST_COST)


def test_folders_in_folders_without_end_are_not_packed(generation, packed):
    """A tree that is nested too deeply is refused, since the walk holds descriptors."""
    folder = generation.workspace
    for _ in range(MAX_DEPTH):
        folder /= "d"
    folder.mkdir(parents=True)
    (folder / "file").touch()
    packed()
    (folder / "d").mkdir()
    (generation.workspace.parent.parent / "archive").unlink()
    with pytest.raises(Unfit, match="nested more than 100 deep"):
        packed()


def test_file_that_changes_meanwhile_is_noticed(generation, packed, monkeypatch):
    """A file that changes while it is packed makes the pack fail."""
    file = generation.workspace / "file"
    file.write_text("before")
    read = os.read

    def and_write(fd, amount):
        file.write_text("afterw")
        return read(fd, amount)

    monkeypatch.setattr(os, "read", and_write)
    with pytest.raises(Unfit, match="changed while"):
        packed()


def test_listing_changes_with_the_files(generation):
    """A listing changes with content, mode, name or link, but not with folders left out."""

    def listed():
        return listing(generation.paths, REBUILDABLE)

    file = generation.workspace / "file"
    file.write_text("one")
    seen = [listed()]
    assert seen == [listed()]
    (generation.workspace / "__pycache__").mkdir()
    assert seen == [listed()]
    for change in (
        lambda: (file.write_text("two"), os.utime(file, (1, 1))),
        lambda: file.chmod(0o700),
        lambda: file.rename(generation.workspace / "other"),
        (generation.home / "folder").mkdir,
    ):
        change()
        seen.append(listed())
    assert 5 == len(set(seen))
