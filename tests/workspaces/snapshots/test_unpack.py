"""An archive that somebody else made: what would do harm is refused, and leaves nothing outside."""

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
    """Only below the folders that a generation has, and in folders that the archive made."""
    with pytest.raises(Damaged):
        archive.of(member(name, content=b"x")).unpacked()
    assert ["archive", "target"] == sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize(("what", "kind"), [("a", tarfile.REGTYPE), ("b", tarfile.DIRTYPE)])
def test_nothing_is_written_through_a_link(archive, tmp_path, what, kind):
    """A link that leads out is made, as an agent may; what the archive puts below it is refused."""
    outside = tmp_path / "outside"
    outside.mkdir()
    link = member("workspace/link", tarfile.SYMTYPE, link=outside)
    inside = member(f"workspace/link/{what}", kind)
    with pytest.raises(Damaged, match="no folder for what lies in it"):
        archive.of(link, inside).unpacked()
    assert [] == list(outside.iterdir())


def test_file_that_stands_for_a_link_is_not_written(archive, tmp_path):
    """The second member of a name is refused, so that no link is overwritten by way of it."""
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    link = member("workspace/link", tarfile.SYMTYPE, link=outside)
    with pytest.raises(Damaged, match="can't be made"):
        archive.of(link, member("workspace/link", content=b"x")).unpacked()
    assert "untouched" == outside.read_text()


@pytest.mark.parametrize("to", ["/etc/passwd", "../outside", "outside", "workspace/link"])
def test_hard_link_to_what_the_archive_has_not_is_refused(archive, tmp_path, to):
    """It would be a name for a file of the host."""
    (tmp_path / "outside").touch()
    link = member("workspace/link", tarfile.SYMTYPE, link=tmp_path / "outside")
    with pytest.raises(Damaged):
        archive.of(link, member("workspace/hard", tarfile.LNKTYPE, link=to)).unpacked()
    assert 1 == (tmp_path / "outside").stat().st_nlink


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"V"])
def test_devices_are_refused(archive, kind):
    """And whatever else a tar archive may hold."""
    with pytest.raises(Damaged, match="neither file, folder nor link"):
        archive.of(member("workspace/device", kind)).unpacked()
    assert not (archive.target / "workspace" / "device").exists()


def test_rights_to_lend_are_taken_off(archive):
    """Setuid, setgid and sticky bits of files and folders."""
    target = archive.of(
        member("workspace/su", mode=0o6755), member("home/folder", tarfile.DIRTYPE, mode=0o7777)
    ).unpacked()
    assert 0o100755 == (target / "workspace" / "su").stat().st_mode
    assert 0o40777 == (target / "home" / "folder").stat().st_mode


def test_folder_stays_open_to_us(archive):
    """One that its owner closed could not be removed by a daemon that is not root."""
    target = archive.of(member("home/shut", tarfile.DIRTYPE, mode=0)).unpacked()
    assert 0o40700 == (target / "home" / "shut").stat().st_mode


def test_bomb_is_stopped_at_the_limit(archive):
    """100 MB of nothing take 10 KB packed; no more than the limit is written of them."""
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.of(member("workspace/zeros", content=bytes(100 * MB))).unpacked(limit=MB)
    assert not (archive.target / "workspace" / "zeros").exists()


def test_many_empty_members_are_stopped_at_the_limit(archive):
    """Each counts as what it takes of an inode."""
    members = [member(f"workspace/{number}") for number in range(8)]
    archive.of(*members).unpacked(limit=10 * LEAST_COST)
    archive.target.rename(archive.target.parent / "first")
    with pytest.raises(Damaged, match="more than the disk limit"):
        archive.of(*members).unpacked(limit=10 * LEAST_COST - 1)


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_long_name_is_bounded(archive, kind):
    """What would be read into memory is no longer than a path can be."""
    with pytest.raises(Damaged, match="name is too long"):
        archive.of(member("././@LongLink", kind, content=b"x" * (MAX_NAME + 2))).unpacked()


@pytest.mark.parametrize("cut", [1, 20])
def test_archive_that_is_cut_is_refused(archive, cut):
    """Wherever it ends."""
    archive.of(member("workspace/file", content=os.urandom(5000)))
    archive.path.write_bytes(archive.path.read_bytes()[:-cut])
    with pytest.raises(Damaged):
        archive.unpacked()


def test_archive_without_an_end_is_refused(archive):
    """What is missing may be files."""
    with pytest.raises(Damaged, match="ends too early"):
        archive.of(member("workspace/file"), end=False).unpacked()


@pytest.mark.parametrize("content", [b"", b"no zstd", zstandard.compress(b"no tar" * 512)])
def test_what_is_no_archive_is_refused(archive, content):
    """As damaged, not as a fault of ours."""
    archive.path.write_bytes(content)
    with pytest.raises(Damaged):
        archive.unpacked()


def test_archive_without_a_folder_is_refused(archive):
    """A session has both, its files and its home."""
    raw = FOLDERS[0][0].tobuf(tarfile.GNU_FORMAT) + bytes(2 * tarfile.BLOCKSIZE)
    archive.path.write_bytes(zstandard.compress(raw))
    with pytest.raises(Damaged, match="a folder is missing"):
        archive.unpacked()


@pytest.mark.parametrize("mtime", [2**70, -(2**70)])
def test_time_that_no_file_can_have_is_refused(archive, mtime):
    """As damaged, not as a fault of ours."""
    with pytest.raises(Damaged):
        archive.of(member("workspace/file", mtime=mtime)).unpacked()
