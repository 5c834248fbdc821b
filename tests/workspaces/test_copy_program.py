"""The program that copies folders which an agent may be changing."""

import errno
import os
import shutil
import socket
import stat

import pytest

from ash.workspaces import copy_program
from ash.workspaces.copy_program import copy


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "from" / "workspace"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def copied(source, tmp_path):
    """Copies the folder as it is now; returns the copy."""

    def act():
        target = tmp_path / "to"
        target.mkdir()
        copy([str(source)], str(target))
        return target / source.name

    return act


def test_copy_is_the_same(source, copied):
    """Contents, permissions and times of files, folders and links are copied."""
    (source / "below").mkdir(mode=0o710)
    (source / "below" / "file").write_text("hello")
    (source / "below" / "file").chmod(0o640)
    (source / "empty").touch()
    (source / "link").symlink_to("below/file")
    for path in (source / "below" / "file", source / "below", source):
        os.utime(path, ns=(1, 2_000_000_003))

    made = copied()

    assert "hello" == (made / "below" / "file").read_text()
    assert 0o640 == stat.S_IMODE((made / "below" / "file").stat().st_mode)
    assert 0o710 == stat.S_IMODE((made / "below").stat().st_mode)
    assert "below/file" == str((made / "link").readlink())
    times = {path.stat().st_mtime_ns for path in (made / "below" / "file", made / "below", made)}
    assert {2_000_000_003} == times


@pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, 20 * 1024 * 1024 + 7])
def test_copy_of_contents(source, copied, size):
    """Files of any size are copied unchanged."""
    data = os.urandom(size)
    (source / "file").write_bytes(data)
    assert data == (copied() / "file").read_bytes()


def test_copy_keeps_holes(source, copied):
    """A file with holes takes no more space in the copy."""
    with (source / "file").open("wb") as file:
        file.write(b"begin")
        file.seek(50 * 1024 * 1024)
        file.write(b"end")
        file.truncate(100 * 1024 * 1024)
    made = copied() / "file"
    assert (source / "file").read_bytes() == made.read_bytes()
    assert made.stat().st_blocks * 512 < 1024 * 1024


def test_copy_keeps_names_of_one_file_together(source, copied):
    """Hard links are hard links in the copy, as package managers expect."""
    (source / "store").mkdir()
    (source / "store" / "file").write_text("hello")
    (source / "file").hardlink_to(source / "store" / "file")
    made = copied()
    assert (made / "store" / "file").samefile(made / "file")


def test_copy_takes_odd_names(source, copied):
    """Names may have line feeds, quotes and bytes that are not UTF-8."""
    names = [b"a\nb", b"'\"$x", b"\xff\xfe", b"-rf"]
    for name in names:
        (source / os.fsdecode(name)).touch()
    assert sorted(names) == sorted(os.fsencode(path.name) for path in copied().iterdir())


def test_copy_does_not_follow_links(source, copied, tmp_path):
    """Links that lead out are copied as links."""
    (tmp_path / "secret").mkdir()
    (source / "folder").symlink_to(tmp_path / "secret")
    (source / "file").symlink_to("/etc/passwd")
    made = copied()
    assert (made / "folder").is_symlink()
    assert (made / "file").is_symlink()


@pytest.mark.parametrize("what", ["folder", "file"])
def test_copy_is_not_led_out_by_a_swap(source, copied, tmp_path, monkeypatch, what):
    """A file or folder that is swapped for a link during the copy is left out."""
    secret = tmp_path / "secret"
    if what == "folder":
        (source / "swapped").mkdir()
        secret.mkdir()
        (secret / "ash.db").write_text("secret")
    else:
        (source / "swapped").touch()
        secret.write_text("secret")
    look = os.stat

    def look_and_swap(name, **options):
        found = look(name, **options)
        if name == "swapped":
            (source / name).rename(tmp_path / "gone")
            (source / name).symlink_to(secret)
        return found

    monkeypatch.setattr(copy_program.os, "stat", look_and_swap)
    assert [] == list(copied().iterdir())


def test_copy_stays_in_a_folder_that_is_moved(source, copied, tmp_path, monkeypatch):
    """A folder that is moved during the copy is copied from its new place."""
    (source / "below").mkdir()
    (source / "below" / "file").write_text("hello")
    names = os.listdir

    def list_and_move(folder):
        found = names(folder)
        if found == ["file"]:
            (source / "below").rename(tmp_path / "moved")
        return found

    monkeypatch.setattr(copy_program.os, "listdir", list_and_move)
    assert "hello" == (copied() / "below" / "file").read_text()


def test_copy_leaves_out_files_that_vanish(source, copied, monkeypatch):
    """A file that is deleted during the copy is left out without an error."""
    (source / "gone").touch()
    (source / "stays").touch()
    names = os.listdir

    def list_and_delete(folder):
        found = names(folder)
        (source / "gone").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(copy_program.os, "listdir", list_and_delete)
    assert {"stays"} == {path.name for path in copied().iterdir()}


def test_copy_leaves_out_sockets_and_pipes(source, copied):
    """Sockets and pipes are left out, without waiting for their other end."""
    os.mkfifo(source / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(source / "socket"))
        assert [] == list(copied().iterdir())


def test_copy_has_no_setuid_bits(source, copied):
    """Setuid and setgid bits are not copied, because the copy is the daemon's."""
    (source / "program").touch()
    (source / "program").chmod(0o6755)
    assert 0o755 == stat.S_IMODE((copied() / "program").stat().st_mode)


def test_copy_of_folders_nested_too_deeply(source, copied):
    """A tree that is nested too deeply is an error."""
    here = os.open(source, os.O_RDONLY)
    for _ in range(150):
        os.mkdir("x", dir_fd=here)
        below = os.open("x", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(OSError, match="nested too deeply") as error:
        copied()
    assert errno.ENAMETOOLONG == error.value.errno
    shutil.rmtree(source)
