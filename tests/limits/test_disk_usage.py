import errno
import mmap
import os
from contextlib import closing, suppress
from pathlib import Path

import pytest

from ash.limits import disk_usage
from ash.limits.disk_usage import TooDeep, entry_sizes, unlinked_sizes
from ash.workspaces.copy_program import MAX_DEPTH

KB = 1024


def used(*folders):
    return sum(entry_sizes(folders))


@pytest.fixture
def folder(tmp_path):
    """An empty folder."""
    made = tmp_path / "folder"
    made.mkdir()
    return made


def write(file, size):
    file.write_bytes(bytes(size))
    return file


def test_entry_sizes_of_an_empty_folder(folder):
    """An empty folder has no entries to count."""
    assert 0 == used(folder)


def test_entry_sizes_count_what_the_disk_gives(folder):
    """Files and folders at any level count with the blocks that the disk gave them."""
    write(folder / "one", 1)
    (folder / "below").mkdir()
    write(folder / "below" / "more", 5 * KB)
    expected = sum(taken(folder / name) for name in ("one", "below", "below/more"))
    assert expected == used(folder)


def test_entry_sizes_count_no_holes(folder):
    """A sparse file counts with the blocks that were written."""
    with (folder / "sparse").open("wb") as out:
        out.truncate(1024 * 1024 * 1024)
        out.write(b"x")
    assert used(folder) < 64 * KB


def test_entry_sizes_bound_empty_files(folder):
    """An empty file counts 1 KiB, because a disk has a limited number of inodes."""
    for name in range(10):
        (folder / str(name)).touch()
    assert 10 * KB == used(folder)


def test_entry_sizes_count_hard_links_once(folder):
    """A file with several names counts once, each other name as much as an empty file."""
    write(folder / "one", 100 * KB)
    before = used(folder)
    os.link(folder / "one", folder / "same")
    (folder / "below").mkdir()
    os.link(folder / "one", folder / "below" / "same")
    assert before + taken(folder / "below") + 2 * KB == used(folder)


def test_entry_sizes_count_hard_links_across_folders_once(tmp_path, folder):
    """A file with a name in workspace and home counts once, but for the name."""
    write(folder / "one", 100 * KB)
    home = tmp_path / "home"
    home.mkdir()
    os.link(folder / "one", home / "same")
    assert used(folder) + KB == used(folder, home)


def test_entry_sizes_follow_no_links(tmp_path, folder):
    """A symlink counts as itself, wherever it leads."""
    write(tmp_path / "outside", 1024 * KB)
    for name, target in (("file", "../outside"), ("root", "/"), ("loop", "."), ("none", "gone")):
        (folder / name).symlink_to(target)
    assert 4 * KB == used(folder)


def test_entry_sizes_of_a_folder_that_is_a_link(tmp_path, folder):
    """The folder itself is not followed either if it is a symlink."""
    write(folder / "one", 100 * KB)
    (tmp_path / "link").symlink_to(folder)
    assert 0 == used(tmp_path / "link")


def test_entry_sizes_of_what_is_gone(tmp_path):
    """A folder that is gone counts nothing."""
    assert 0 == used(tmp_path / "gone")


def test_entry_sizes_while_a_folder_is_replaced_by_a_link(tmp_path, folder):
    """A folder that becomes a symlink after it was seen is not followed."""
    write(tmp_path / "outside", 1024 * KB)
    (folder / "below").mkdir()
    with closing(entry_sizes([folder])) as sizes:
        next(sizes)
        (folder / "below").rmdir()
        (folder / "below").symlink_to(tmp_path)
        assert [] == list(sizes)


def test_entry_sizes_of_too_many_folders_within_each_other(folder):
    """Folders that are nested deeper than MAX_DEPTH raise TooDeep."""
    nest(folder, MAX_DEPTH)
    assert MAX_DEPTH == len(list(entry_sizes([folder])))
    nest(folder, MAX_DEPTH + 1)
    with pytest.raises(TooDeep):
        used(folder)


def test_entry_sizes_hold_no_descriptors_afterwards(folder):
    """No descriptor stays open after the end, an early close or a failure."""
    nest(folder, 50)
    before = open_descriptors()
    used(folder)
    with closing(entry_sizes([folder])) as sizes:
        next(sizes)
    nest(folder, MAX_DEPTH + 1)
    with pytest.raises(TooDeep):
        used(folder)
    assert before == open_descriptors()


def test_unlinked_sizes_count_what_has_no_name(folder):
    """A file that was deleted while it is open takes its blocks, once however often it is open."""
    with write(folder / "hidden", 100 * KB).open("rb") as one, (folder / "hidden").open("rb"):
        (folder / "hidden").unlink()
        expected = os.fstat(one.fileno()).st_blocks * 512
        sizes = unlinked_sizes([os.getpid(), os.getpid()], folder.stat().st_dev)
        assert expected == sum(sizes)


@pytest.mark.parametrize("name", ["plain", "odd (deleted)\n"])
def test_unlinked_sizes_count_what_is_only_mapped(folder, name):
    """A file that is closed and deleted takes its blocks as long as it is mapped."""
    device = folder.stat().st_dev
    size = taken(write(folder / name, 100 * KB))
    with (folder / name).open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    with mapped:
        assert 0 == sum(unlinked_sizes([os.getpid()], device))
        (folder / name).unlink()
        assert size == sum(unlinked_sizes([os.getpid()], device))


def test_unlinked_sizes_leave_out_what_is_counted_elsewhere(folder):
    """Files that have a name or are on another device, and what is no file, are not counted."""
    with write(folder / "named", 100 * KB).open("rb"):
        assert 0 == sum(unlinked_sizes([os.getpid()], folder.stat().st_dev))


def test_unlinked_sizes_of_who_is_gone(folder):
    """A process that has ended holds nothing."""
    assert [] == list(unlinked_sizes([2**22 + 1], folder.stat().st_dev))


def taken(path):
    """A folder that takes no block counts 1 KiB, as on some file systems."""
    return max(path.stat().st_blocks * 512, KB)


def open_descriptors():
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def nest(folder, depth):
    """Makes folders nested so deep."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        with suppress(FileExistsError):
            os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_processes_that_hold_too_much_open_are_told(folder, monkeypatch):
    """Measuring them would take the time of all others."""
    monkeypatch.setattr(disk_usage, "MAX_HELD", 2)
    with pytest.raises(disk_usage.TooManyHeld):
        list(unlinked_sizes([os.getpid()], 0))


def test_deleted_file_counts_that_is_mapped_in_a_process_that_can_not_be_looked_at(
    folder, monkeypatch
):
    """As much as is mapped of it: only root may look at the file itself."""
    line = b"7f00000000-7f00100000 rw-s 00001000 08:01 77 /data/x (deleted)\n"
    device = os.makedev(8, 1)

    def closed(*_):
        raise PermissionError

    monkeypatch.setattr("os.stat", closed)
    assert 0x101000 == disk_usage._mapped_size(1, line, device, set())
    assert 0 == disk_usage._mapped_size(1, line.replace(b"08:01", b"08:02"), device, set())
    memory = line.replace(b"/data/x", b"/memfd:x")
    assert 0 == disk_usage._mapped_size(1, memory, device, set())


@pytest.mark.parametrize("what", ["open", "stat"])
def test_entry_sizes_of_a_folder_that_stays_closed(folder, monkeypatch, what):
    """It counts as more than any limit, as it could hide any size."""
    write(folder / "file", 1)

    def closed(*_, **__):
        raise PermissionError

    monkeypatch.setattr(disk_usage._Level, f"_{what}" if what == "open" else what, closed)
    assert used(folder) >= disk_usage.UNREADABLE


def test_entry_sizes_without_a_descriptor_left(folder, monkeypatch):
    """That says nothing of the folder, so it does not count as an empty one."""

    def full(*_, **__):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(disk_usage._Level, "_open", full)
    with pytest.raises(OSError, match="Too many open files"):
        used(folder)
