"""Reading, writing and deleting files of a workspace, whatever an agent has put there."""

import errno
import os
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from ash.errors import BadRequest, Conflict, NotFound, Unavailable
from ash.workspaces import files, safe_open
from ash.workspaces.files import check_link, delete_file, open_file, write_file
from ash.workspaces.safe_open import open_folder


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def root(workspace):
    fd = open_folder(workspace)
    yield fd
    os.close(fd)


@pytest.fixture
def without_kernel(monkeypatch):
    monkeypatch.setattr(safe_open, "_kernel_resolves", lambda: False)


def read(root, path):
    file = open_file(root, path)
    try:
        return file.read(0, file.size)
    finally:
        file.close()


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_file_is_read_in_parts(root, workspace):
    """Any part of a file can be read; after its end there is nothing."""
    (workspace / "file").write_bytes(b"0123456789")
    file = open_file(root, "file")
    parts = [file.read(0, 4), file.read(4, 4), file.read(8, 4), file.read(10, 4)]
    file.close()
    assert (10, [b"0123", b"4567", b"89", b""]) == (file.size, parts)


def test_file_that_shrinks_is_read_as_far_as_it_goes(root, workspace):
    """Reading a file that shrinks meanwhile returns what is left."""
    (workspace / "file").write_bytes(b"0123456789")
    file = open_file(root, "file")
    os.truncate(workspace / "file", 3)
    assert (b"012", b"") == (file.read(0, 10), file.read(5, 5))
    file.close()


def test_file_that_nobody_closes_is_closed_with_its_object(root, workspace):
    """An open file is closed with its object, so an unsent response leaks nothing."""
    (workspace / "file").touch()
    before = descriptors()
    file = open_file(root, "file")
    opened = descriptors()
    del file
    assert (before + 1, before) == (opened, descriptors())


def test_missing_file_is_not_found(root, workspace):
    """A missing file, or a path below a file, is a 404."""
    (workspace / "file").touch()
    for path in ("nothing", "no/thing", "file/x"):
        with pytest.raises(NotFound, match=f'There is no file "{path}"'):
            open_file(root, path)


def test_folder_or_special_file_is_not_read(root, workspace, monkeypatch):
    """A folder, a FIFO and a device are refused without waiting."""
    (workspace / "folder").mkdir()
    os.mkfifo(workspace / "fifo")
    before = descriptors()
    with pytest.raises(BadRequest, match='"folder" is a folder, not a file'):
        open_file(root, "folder")
    with pytest.raises(BadRequest, match='"fifo" is not a regular file'):
        open_file(root, "fifo")
    assert before == descriptors()


def test_file_behind_a_link_out_is_not_read(root, workspace):
    """A link out is a 400, and the text does not say where it leads."""
    (workspace / "link").symlink_to("../secret")
    with pytest.raises(BadRequest) as caught:
        open_file(root, "link")
    assert '"link" leads out of the workspace by a link' == caught.value.text


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (errno.EACCES, BadRequest, "inaccessible"),
        (errno.EPERM, BadRequest, "inaccessible"),
        (errno.ENODEV, BadRequest, "not a regular file"),
        (errno.EAGAIN, Conflict, "try again"),
        (errno.EDQUOT, Unavailable, "no room"),
    ],
)
def test_errors_that_an_agent_causes_are_explained(root, monkeypatch, number, kind, text):
    """An error that an agent causes is not an error of the server."""

    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "open_beneath", refuse)
    with pytest.raises(kind, match=text):
        open_file(root, "file")


def test_name_that_is_too_long_is_refused(root):
    """A name of 300 bytes is refused."""
    with pytest.raises(BadRequest, match="too long"):
        open_file(root, "x" * 300)


def test_new_file_is_written_with_its_folders(root, workspace):
    """Missing folders are made; files and folders are readable by all."""
    assert 11 == write_file(root, "a/b/file", [b"hello ", b"world"])
    modes = [stat.S_IMODE((workspace / path).stat().st_mode) for path in ("a", "a/b", "a/b/file")]
    assert b"hello world" == (workspace / "a/b/file").read_bytes()
    assert [0o755, 0o755, 0o644] == modes
    assert ["file"] == names(workspace / "a" / "b")


def test_written_file_has_a_mode_independent_of_the_umask(root, workspace):
    """The mode does not depend on the daemon's umask."""
    before = os.umask(0o077)
    try:
        write_file(root, "folder/file", [b""])
    finally:
        os.umask(before)
    assert 0o644 == stat.S_IMODE((workspace / "folder/file").stat().st_mode)
    assert 0o755 == stat.S_IMODE((workspace / "folder").stat().st_mode)


def test_written_file_has_the_owner_of_the_workspace(root, workspace):
    """A sandbox's host user owns files that are written into its workspace."""
    (workspace / "old").mkdir()
    old = (workspace / "old").stat()
    if os.geteuid() == 0:
        os.chown(workspace, 4321, 1234)
    owner = workspace.stat()
    write_file(root, "new/folder/file", [b"x"])
    write_file(root, "old/file", [b"x"])
    owned = ("new", "new/folder", "new/folder/file", "old/file")
    owners = {
        (found.st_uid, found.st_gid) for found in map(os.stat, map(workspace.joinpath, owned))
    }
    assert {(owner.st_uid, owner.st_gid)} == owners
    assert old.st_uid == (workspace / "old").stat().st_uid


def test_file_is_replaced_at_once(root, workspace):
    """A reader sees the old file or the new one, never a part."""
    (workspace / "file").write_bytes(b"old")

    def content():
        yield b"new "
        seen.append((workspace / "file").read_bytes())
        yield b"text"

    seen = []
    write_file(root, "file", content())
    assert ([b"old"], b"new text") == (seen, (workspace / "file").read_bytes())


def test_content_that_fails_leaves_the_old_file(root, workspace):
    """A write that breaks off leaves the old file and no temporary one."""
    (workspace / "file").write_bytes(b"old")

    def content():
        yield b"new"
        raise BadRequest("not base64")

    before = descriptors()
    with pytest.raises(BadRequest, match="not base64"):
        write_file(root, "file", content())
    assert (b"old", ["file"]) == ((workspace / "file").read_bytes(), names(workspace))
    assert before == descriptors()


def test_full_disk_is_a_503_and_leaves_the_old_file(root, workspace, monkeypatch):
    """A full disk is a 503, and the old file stays."""
    (workspace / "file").write_bytes(b"old")

    def content():
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Unavailable, match='no room on the disk for "file"'):
        write_file(root, "file", content())
    assert (b"old", ["file"]) == ((workspace / "file").read_bytes(), names(workspace))


def test_written_name_is_no_longer_a_hard_link(root, workspace):
    """Writing to one name of a file leaves its other names unchanged."""
    (workspace / "one").write_bytes(b"old")
    os.link(workspace / "one", workspace / "other")
    write_file(root, "one", [b"new"])
    assert (b"new", b"old") == (
        (workspace / "one").read_bytes(),
        (workspace / "other").read_bytes(),
    )


def test_link_inside_is_replaced_and_not_followed(root, workspace):
    """Writing replaces a link and leaves its target unchanged."""
    (workspace / "target").write_bytes(b"old")
    (workspace / "link").symlink_to("target")
    (workspace / "dangling").symlink_to("nothing")
    write_file(root, "link", [b"new"])
    write_file(root, "dangling", [b"new"])
    assert b"old" == (workspace / "target").read_bytes()
    assert not (workspace / "link").is_symlink()
    assert ["dangling", "link", "target"] == names(workspace)


@pytest.mark.parametrize("path", ["link", "out/file", "out/new/file", "gone"])
def test_file_behind_a_link_out_is_not_written(root, workspace, path):
    """A path that leads out by a link is refused, and nothing changes."""
    (workspace / "link").symlink_to("../secret")
    (workspace / "out").symlink_to("..")
    (workspace / "gone").symlink_to("../nothing")
    with pytest.raises(BadRequest, match="leads out"):
        write_file(root, path, [b"new"])
    assert ["secret", "workspace"] == names(workspace.parent)
    assert "secret" == (workspace.parent / "secret").read_text()
    assert (workspace / "link").is_symlink()


def test_folder_behind_a_link_inside_is_written_to(root, workspace):
    """A path may go through a link to a folder inside; missing folders are made there."""
    (workspace / "real").mkdir()
    (workspace / "link").symlink_to("real")
    write_file(root, "link/new/file", [b"x"])
    assert b"x" == (workspace / "real/new/file").read_bytes()


def test_folder_is_not_replaced_by_a_file(root, workspace):
    """Writing to a folder's path is refused before the content is read."""
    (workspace / "folder").mkdir()
    with pytest.raises(BadRequest, match="is a folder"):
        write_file(root, "folder", iter_that_fails())


def test_file_is_not_replaced_by_a_folder(root, workspace):
    """A file in the middle of a path is an error and stays."""
    (workspace / "file").write_bytes(b"old")
    with pytest.raises(BadRequest, match='A part of "file/x/y" is a file'):
        write_file(root, "file/x/y", iter_that_fails())
    assert b"old" == (workspace / "file").read_bytes()


def test_special_file_is_replaced(root, workspace):
    """Writing replaces a FIFO without opening it."""
    os.mkfifo(workspace / "fifo")
    write_file(root, "fifo", [b"x"])
    assert b"x" == (workspace / "fifo").read_bytes()


def test_workspace_that_was_removed_takes_no_file(root, workspace):
    """Writing into a workspace that has been removed is a 409."""
    workspace.rmdir()
    with pytest.raises(Conflict, match="try again"):
        write_file(root, "file", [b"x"])
    with pytest.raises(Conflict, match="try again"):
        write_file(root, "folder/file", [b"x"])


def test_deep_path_is_made(root, workspace):
    """A path of a thousand folders is made, and no descriptor stays open."""
    before = descriptors()
    path = "d/" * 1000 + "file"
    write_file(root, path, [b"deep"])
    seen = (read(root, path), descriptors())
    # Python's rmtree, which pytest uses, fails at a thousand nested folders.
    subprocess.run(["rm", "-rf", workspace], check=True)
    assert (b"deep", before) == seen


def test_file_is_deleted(root, workspace):
    """A deleted file is gone, and its folder stays."""
    (workspace / "folder").mkdir()
    (workspace / "folder" / "file").touch()
    delete_file(root, "folder/file")
    assert [] == names(workspace / "folder")


def test_link_inside_is_deleted_and_not_followed(root, workspace):
    """Deleting a link leaves its target."""
    (workspace / "target").touch()
    (workspace / "link").symlink_to("target")
    (workspace / "dangling").symlink_to("nothing")
    delete_file(root, "link")
    delete_file(root, "dangling")
    assert ["target"] == names(workspace)


def test_special_file_is_deleted(root, workspace):
    """A FIFO is deleted without being opened."""
    os.mkfifo(workspace / "fifo")
    delete_file(root, "fifo")
    assert [] == names(workspace)


@pytest.mark.parametrize("path", ["link", "out/secret", "out/workspace/file"])
def test_nothing_behind_a_link_out_is_deleted(root, workspace, path):
    """Deleting a path that leads out is refused, and nothing is deleted."""
    (workspace / "file").touch()
    (workspace / "link").symlink_to("../secret")
    (workspace / "out").symlink_to("..")
    with pytest.raises(BadRequest, match="leads out"):
        delete_file(root, path)
    assert (["secret", "workspace"], ["file", "link", "out"]) == (
        names(workspace.parent),
        names(workspace),
    )


def test_missing_file_and_folder_are_not_deleted(root, workspace):
    """A missing file is a 404; a folder is refused, empty or not."""
    (workspace / "folder").mkdir()
    with pytest.raises(NotFound):
        delete_file(root, "nothing")
    with pytest.raises(NotFound):
        delete_file(root, "no/thing")
    with pytest.raises(BadRequest, match="is a folder"):
        delete_file(root, "folder")
    assert ["folder"] == names(workspace)


def test_link_is_checked_before_anything_is_done(root, workspace):
    """A path that stays inside passes, also if it does not exist; one that leads out fails."""
    (workspace / "file").touch()
    (workspace / "inside").symlink_to("file")
    (workspace / "out").symlink_to("..")
    for path in ("file", "inside", "new", "new/file", "file/below"):
        check_link(root, path)
    for path in ("out", "out/secret", "out/new"):
        with pytest.raises(BadRequest, match="leads out"):
            check_link(root, path)


def test_without_openat2_files_are_served_too(root, workspace, without_kernel):
    """Without openat2, plain paths work and every link is refused."""
    write_file(root, "a/b/file", [b"x"])
    (workspace / "link").symlink_to("a")
    (workspace / "a" / "link").symlink_to("b/file")
    assert b"x" == read(root, "a/b/file")
    for path in ("link/b/file", "a/link"):
        for act in (read, delete_file, lambda at, path: write_file(at, path, [b"new"])):
            with pytest.raises(BadRequest, match="leads out"):
                act(root, path)
    delete_file(root, "a/b/file")
    assert [] == names(workspace / "a" / "b")


ATTACK = """
import os, sys
from contextlib import suppress
from pathlib import Path

place, away = Path(sys.argv[1], "place"), Path(sys.argv[1], "away")
print("ready", flush=True)
while True:
    with suppress(OSError):
        place.mkdir()
    for link in ("file", "new"):
        with suppress(OSError):
            (place / link).symlink_to("../../outside/file")
    with suppress(OSError):
        place.rename(away)
    with suppress(OSError):
        place.symlink_to("../outside")
    for entry in os.listdir(away) if away.exists() else ():
        with suppress(OSError):
            os.unlink(away / entry)
            os.symlink("../../outside/file", away / entry)
    with suppress(OSError):
        place.unlink()
    with suppress(OSError):
        away.rename(place)
    for entry in os.listdir(place) if place.exists() else ():
        with suppress(OSError):
            os.unlink(place / entry)
"""


def test_writes_race_with_an_agent_and_stay_inside(root, workspace):
    """Nothing outside changes, whatever an agent swaps for links during writes."""
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    command = [sys.executable, "-c", ATTACK, str(workspace)]
    done, refused = 0, 0
    with subprocess.Popen(command, stdout=subprocess.PIPE) as attack:
        attack.stdout.readline()
        while min(done, refused) < 500 and done + refused < 100_000:
            for act in (partial(write_file, content=[b"evil"]), delete_file):
                try:
                    act(root, "place/file")
                    done += 1
                except (BadRequest, Conflict, NotFound):
                    refused += 1
        attack.kill()

    assert 500 <= min(done, refused)
    assert (["file"], "precious") == (names(outside), (outside / "file").read_text())
    assert ["outside", "secret", "workspace"] == names(workspace.parent)


def test_unknown_failure_is_not_explained_away(root, workspace, monkeypatch):
    """An unexpected error of the disk is raised unchanged."""

    def broken(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "open_beneath", broken)
    with pytest.raises(OSError, match="Input/output error"):
        open_file(root, "file")


def iter_that_fails():
    raise AssertionError("the content was read")
    yield b""


def test_deleting_leaves_no_descriptor_open(root, workspace):
    """Neither of what was deleted, nor of what could not be."""
    (workspace / "folder").mkdir()
    (workspace / "folder" / "file").touch()
    before = descriptors()
    delete_file(root, "folder/file")
    with pytest.raises(NotFound):
        delete_file(root, "folder/file")
    assert before == descriptors()
