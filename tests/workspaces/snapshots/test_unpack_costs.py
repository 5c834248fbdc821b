"""What a hostile archive may cost: no more members than were paid for, and no descriptor."""

import tarfile

import pytest

from ash.workspaces.snapshots.unpack import MAX_NAME, Damaged
from ash.workspaces.snapshots.walk import LEAST_COST
from tests.support.processes import open_descriptors
from tests.workspaces.snapshots.conftest import MB
from tests.workspaces.snapshots.test_unpack import Archive, member

LONG = "workspace/" + "n" * 200


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path)


def long_name(name, kind=tarfile.GNUTYPE_LONGNAME):
    return member("././@LongLink", kind, content=name.encode() + b"\0")


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_long_names_are_stopped_at_the_limit(archive, kind):
    """Each counts as a member does: a name that no file follows is not free."""
    names = [long_name(LONG, kind)] * 8
    archive.of(*names).unpacked(limit=10 * LEAST_COST)
    archive.target.rename(archive.target.parent / "first")
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.of(*names).unpacked(limit=10 * LEAST_COST - 1)


def test_longest_name_is_read(archive):
    """A link may lead to as long a path as the kernel takes."""
    to = "x" * (MAX_NAME - 1)
    link = member("workspace/link", tarfile.SYMTYPE)
    target = archive.of(long_name(to, tarfile.GNUTYPE_LONGLINK), link).unpacked()
    assert to == str((target / "workspace" / "link").readlink())


def test_file_of_exactly_what_is_left_is_written(archive):
    """The limit itself may be used up, and not one byte more."""
    size = MB
    archive.of(member("workspace/file", content=bytes(size)))
    target = archive.unpacked(limit=2 * LEAST_COST + size)
    assert size == (target / "workspace" / "file").stat().st_size
    target.rename(target.parent / "first")
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.unpacked(limit=2 * LEAST_COST + size - 1)


FILE = member("workspace/file", content=b"x")
CUT = (member("workspace/file", content=bytes(MB))[0], b"")
DAMAGED = {
    "no folder": [member("workspace/none/file")],
    "no folder below one": [
        member("workspace/a", tarfile.DIRTYPE),
        member("workspace/a/none/file"),
    ],
    "name taken": [FILE, FILE],
    "device": [member("workspace/device", tarfile.FIFOTYPE)],
    "hard link over a file": [FILE, member("workspace/file", tarfile.LNKTYPE, link=FILE[0].name)],
    "time of a file": [member("workspace/file", mtime=2**70)],
    "time of a folder": [member("workspace/folder", tarfile.DIRTYPE, mtime=2**70)],
    "cut": [CUT],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_archive_leaves_no_descriptor_open(archive, name):
    """A daemon that tries one again and again does not run out of descriptors."""
    archive.of(*DAMAGED[name])
    before = open_descriptors()
    with pytest.raises(Damaged):
        archive.unpacked()
    assert before == open_descriptors()


def test_whole_archive_leaves_no_descriptor_open(archive):
    """Nor does one that is as it should be."""
    folder = member("workspace/a", tarfile.DIRTYPE)
    link = member("workspace/a/hard", tarfile.LNKTYPE, link=FILE[0].name)
    archive.of(FILE, folder, member("workspace/a/b", content=b"y"), link)
    before = open_descriptors()
    archive.unpacked()
    assert before == open_descriptors()
