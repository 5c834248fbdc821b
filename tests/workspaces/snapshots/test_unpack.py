"""Hostile archives are refused and write nothing outside."""

import io
import os
import tarfile

import pytest
import zstandard

from ash.workspaces.copy_program import MAX_DEPTH
from ash.workspaces.snapshots.unpack import MAX_NAME, Damaged, unpack
from ash.workspaces.snapshots.walk import LEAST_COST
from tests.workspaces.snapshots.conftest import MB, TOPS


def member(name, kind=tarfile.REGTYPE, *, content=b"", link="", mode=0o644, mtime=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime = kind, str(link), mode, mtime
    info.size = len(content)
    return info, content


FOLDERS = [member(top, tarfile.DIRTYPE, mode=0o755) for top in TOPS]


class Archive:
    def __init__(self, folder):
        self.path = folder / "archive"
        self.target = folder / "target"

    def of(self, *members, end=True):
        raw = io.BytesIO()
        for info, content in (*FOLDERS, *members):
            raw.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))
            raw.write(content + b"\0" * (-len(content) % tarfile.BLOCKSIZE))
        raw.write(b"\0" * tarfile.BLOCKSIZE * 2 * end)
        self.path.write_bytes(zstandard.compress(raw.getvalue()))
        return self

    def unpacked(self, limit=MB):
        unpack(self.path, self.target, TOPS, limit=limit)
        return self.target


@pytest.fixture
def archive(tmp_path):
    return Archive(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../outside",
        "workspace/../../outside",
        "workspace/./file",
        "workspace//file",
        "elsewhere/file",
        "elsewhere",
        "workspace",
        "workspace/none/file",
        "workspace/" + "d/" * (MAX_DEPTH + 2) + "file",
        "",
    ],
)
def test_path_that_leads_elsewhere_is_refused(archive, tmp_path, name):
    """Paths must be below the tops, in folders that the archive has made."""
    with pytest.raises(Damaged):
        archive.of(member(name, content=b"x")).unpacked()
    assert ["archive", "target"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize(("what", "kind"), [("a", tarfile.REGTYPE), ("b", tarfile.DIRTYPE)])
def test_nothing_is_written_through_a_link(archive, tmp_path, what, kind):
    """A link that leads out is made, but nothing is unpacked through it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("workspace/link", tarfile.SYMTYPE, link=outside)
    inside = member(f"workspace/link/{what}", kind)
    with pytest.raises(Damaged, match="no folder for what lies in it"):
        archive.of(link, inside).unpacked()
    assert [] == list(outside.iterdir())


def test_file_that_stands_for_a_link_is_not_written(archive, tmp_path):
    """A second member of the same name is refused, so no link is overwritten."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    link = member("workspace/link", tarfile.SYMTYPE, link=outside)
    with pytest.raises(Damaged, match="can't be made"):
        archive.of(link, member("workspace/link", content=b"x")).unpacked()
    assert "untouched" == outside.read_text()


@pytest.mark.parametrize("to", ["/etc/passwd", "../outside", "outside", "workspace/link"])
def test_hard_link_to_a_file_outside_is_refused(archive, tmp_path, to):
    """A hard link to anything but a file of the archive is refused."""
    (tmp_path / "outside").touch()
    link = member("workspace/link", tarfile.SYMTYPE, link=tmp_path / "outside")
    with pytest.raises(Damaged):
        archive.of(link, member("workspace/hard", tarfile.LNKTYPE, link=to)).unpacked()
    assert 1 == (tmp_path / "outside").stat().st_nlink


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V"])
def test_devices_are_refused(archive, kind):
    """Devices and other kinds of member are refused."""
    with pytest.raises(Damaged, match="neither file, folder nor link"):
        archive.of(member("workspace/device", kind)).unpacked()
    assert not (archive.target / "workspace" / "device").exists()


def test_setuid_bits_are_removed(archive):
    """Setuid, setgid and sticky bits are removed."""
    target = archive.of(
        member("workspace/su", mode=0o6755), member("home/folder", tarfile.DIRTYPE, mode=0o7777)
    ).unpacked()
    assert 0o100755 == (target / "workspace" / "su").stat().st_mode
    assert 0o40777 == (target / "home" / "folder").stat().st_mode


def test_folder_stays_open_to_the_daemon(archive):
    """A folder is always accessible to its owner, so that the daemon can remove it."""
    target = archive.of(member("home/shut", tarfile.DIRTYPE, mode=0)).unpacked()
    assert 0o40700 == (target / "home" / "shut").stat().st_mode


def test_bomb_is_stopped_at_the_limit(archive):
    """100 MB that are packed to 10 KB are written only up to the limit."""
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.of(member("workspace/zeros", content=bytes(100 * MB))).unpacked(limit=MB)
    assert not (archive.target / "workspace" / "zeros").exists()


def test_many_empty_members_are_stopped_at_the_limit(archive):
    """Each member counts for its inode."""
    members = [member(f"workspace/{number}") for number in range(8)]
    archive.of(*members).unpacked(limit=10 * LEAST_COST)
    archive.target.rename(archive.target.parent / "first")
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.of(*members).unpacked(limit=10 * LEAST_COST - 1)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_long_name_is_bounded(archive, kind):
    """A name longer than a path can be is refused."""
    with pytest.raises(Damaged, match="name is too long"):
        archive.of(member("././@LongLink", kind, content=b"x" * (MAX_NAME + 2))).unpacked()


@pytest.mark.parametrize("cut", [1, 20])
def test_archive_that_is_cut_is_refused(archive, cut):
    """An archive that is cut anywhere is refused."""
    archive.of(member("workspace/file", content=os.urandom(5000)))
    archive.path.write_bytes(archive.path.read_bytes()[:-cut])
    with pytest.raises(Damaged):
        archive.unpacked()


def test_archive_without_an_end_is_refused(archive):
    """An archive without its end marker is refused, since files may be missing."""
    with pytest.raises(Damaged, match="ends too early"):
        archive.of(member("workspace/file"), end=False).unpacked()


@pytest.mark.parametrize("content", [b"", b"no zstd", zstandard.compress(b"no tar" * 512)])
def test_file_that_is_no_archive_is_refused(archive, content):
    """A file that is not an archive is reported as damaged."""
    archive.path.write_bytes(content)
    with pytest.raises(Damaged):
        archive.unpacked()


def test_archive_without_a_folder_is_refused(archive):
    """An archive without one of the tops is refused."""
    raw = FOLDERS[0][0].tobuf(tarfile.GNU_FORMAT) + bytes(2 * tarfile.BLOCKSIZE)
    archive.path.write_bytes(zstandard.compress(raw))
    with pytest.raises(Damaged, match="a folder is missing"):
        archive.unpacked()


@pytest.mark.parametrize("mtime", [2**70, -(2**70)])
def test_time_that_no_file_can_have_is_refused(archive, mtime):
    """An impossible time is reported as damaged."""
    with pytest.raises(Damaged):
        archive.of(member("workspace/file", mtime=mtime)).unpacked()
