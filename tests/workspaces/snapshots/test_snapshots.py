"""Which generations are saved, restored and removed."""

import msgspec
import pytest
import trio
from msgspec import Raw

from ash.workspaces.snapshots import snapshots as module
from ash.workspaces.snapshots.snapshot_store import StoreFailed, Subject
from ash.workspaces.snapshots.snapshots import KEEP, KEEP_SECONDS, SnapshotSource, Unusable
from tests.workspaces.snapshots.conftest import MB, TOPS


@pytest.fixture
def kept(snapshots, folder, subject, generation, tmp_path):
    """Helpers for one subject: save, restore, read back."""
    return Kept(snapshots, folder, subject, generation, tmp_path)


class Kept:
    def __init__(self, snapshots, folder, subject, generation, tmp_path):
        self.snapshots, self.folder, self.subject = snapshots, folder, subject
        self.generation, self.target = generation, tmp_path / "target"
        self.scratch, self.store = tmp_path / "scratch", tmp_path / "store"
        self.file = generation.workspace / "file"

    async def save(self, text="one", about=b"1"):
        if not self.file.exists() or self.file.read_text() != text:
            self.file.write_text(text)
        return await self.snapshots.save(self.subject, self.generation.source(about))

    async def restored(self, limit=MB):
        """The text of the restored file, and the manifest's row."""
        found = await self.snapshots.restore(self.subject, self.target, TOPS, limit)
        return found and ((self.target / "workspace" / "file").read_text(), bytes(found.about))

    async def ends(self):
        stored = await self.folder.under(self.subject.prefix)
        return sorted(one.key.partition(".")[2] for one in stored)

    def path(self, ending, which=-1):
        return sorted(self.store.rglob(f"*{ending}"))[which]


async def test_newest_generation_is_restored(kept):
    """Files and row of the newest generation are restored, and no scratch file is left."""
    for number in (1, 2):
        assert await kept.save(f"text {number}", b"%d" % number)
    assert ("text 2", b"2") == await kept.restored()
    assert [] == list(kept.scratch.iterdir())


async def test_subject_without_a_generation_is_not_restored(kept):
    """Restoring a subject without a generation returns None."""
    assert None is await kept.restored()
    assert not kept.target.exists()


async def test_unchanged_subject_is_not_uploaded(kept):
    """Saving an unchanged subject writes nothing."""
    assert await kept.save()
    assert not await kept.save()
    assert ["json", "tar.zst"] == await kept.ends()


async def test_new_row_of_the_same_files_is_a_new_manifest(kept):
    """A new row of unchanged files is a new manifest with the same archive."""
    for number in range(KEEP + 2):
        assert await kept.save(about=b"%d" % number)
    assert [*["json"] * KEEP, "tar.zst"] == await kept.ends()
    assert ("one", b"%d" % (KEEP + 1)) == await kept.restored()


async def test_upload_that_was_cut_does_not_count(kept, monkeypatch):
    """A generation without a manifest is ignored."""
    await kept.save("before")
    put = kept.folder.put

    async def cut(key, content):
        if key.endswith(".json"):
            raise StoreFailed("cut")
        await put(key, content)

    monkeypatch.setattr(kept.folder, "put", cut)
    with pytest.raises(StoreFailed):
        await kept.save("after")
    assert ["json", "tar.zst", "tar.zst"] == await kept.ends()
    assert ("before", b"1") == await kept.restored()


@pytest.mark.parametrize("damage", ["checksum", "manifest", "archive gone", "another's"])
async def test_damaged_generation_is_passed_over(kept, damage):
    """A damaged generation is skipped for the one before it, and leaves no files."""
    await kept.save("before", b"1")
    await kept.save("after", b"2")
    archive, manifest = kept.path(".tar.zst"), kept.path(".json")
    if damage == "checksum":
        archive.write_bytes(kept.path(".tar.zst", 0).read_bytes())
    elif damage == "manifest":
        manifest.write_bytes(b"{}")
    elif damage == "archive gone":
        archive.unlink()
    else:
        theirs = msgspec.json.decode(manifest.read_bytes())
        theirs["subject"]["tenant"] = "them"
        manifest.write_bytes(msgspec.json.encode(theirs))
    assert ("before", b"1") == await kept.restored()
    assert [] == list(kept.scratch.iterdir())


async def test_nothing_but_damage_is_an_error(kept):
    """If all generations are damaged, restoring raises, and does not begin afresh."""
    await kept.save()
    kept.path(".tar.zst").write_bytes(b"damaged")
    with pytest.raises(Unusable):
        await kept.restored()
    assert not kept.target.exists()


async def test_generation_over_the_limit_is_not_restored(kept):
    """The session's disk limit holds for restored files too."""
    await kept.save("x" * 10_000)
    with pytest.raises(Unusable):
        await kept.restored(limit=8_000)
    assert not kept.target.exists()


async def test_old_generations_are_cleaned_away(kept):
    """Only the newest few generations keep their manifest and archive."""
    for number in range(KEEP + 2):
        await kept.save(f"text {number}")
    assert ["json"] * KEEP + ["tar.zst"] * KEEP == await kept.ends()
    assert (f"text {KEEP + 1}", b"1") == await kept.restored()


async def test_generations_of_old_age_are_cleaned_away(kept, now):
    """Old generations are removed, except for the newest."""
    await kept.save("old")
    await kept.save("older than it looks")
    now.time += KEEP_SECONDS + 60
    await kept.save("new")
    assert ["json", "tar.zst"] == await kept.ends()
    now.time += 2 * KEEP_SECONDS
    await kept.save("new", b"2")
    assert ("new", b"2") == await kept.restored()


async def test_abandoned_archives_are_cleaned_away(kept, now):
    """An old archive without a manifest is removed."""
    await kept.folder.put(kept.subject.key("20200101T000000000-x", ".tar.zst"), b"given up")
    await kept.save("one")
    assert ["json", "tar.zst", "tar.zst"] == await kept.ends()
    now.time += 86_460
    await kept.save("two")
    assert 2 == (await kept.ends()).count("tar.zst")


async def test_subject_is_dropped_whole(kept):
    """All generations are removed, but none of a subject whose name begins the same."""
    await kept.save()
    other = Subject("sessions", kept.subject.tenant, kept.subject.name + "2")
    await kept.snapshots.save(other, kept.generation.source())
    await kept.snapshots.drop(kept.subject)
    assert [] == await kept.ends()
    assert 2 == len(await kept.folder.under(other.prefix))


async def test_single_folder_is_restored_as_the_target(kept):
    """A single top becomes the target itself."""
    kept.file.write_text("one")
    source = SnapshotSource(
        tops={"files": kept.generation.workspace}, limit=MB, lean=False, about=Raw(b"1")
    )
    agent = Subject("agents", "us", "helper")
    await kept.snapshots.save(agent, source)
    await kept.snapshots.restore(agent, kept.target, ("files",), MB)
    assert ["file"] == [path.name for path in kept.target.iterdir()]


async def test_files_that_are_gone_are_not_uploaded(kept):
    """Files that vanish before the pack, because the session was resumed, are no error."""
    await kept.save()
    kept.file.unlink()
    kept.generation.workspace.rmdir()
    assert not await kept.snapshots.save(kept.subject, kept.generation.source(b"2"))
    assert ["json", "tar.zst"] == await kept.ends()


async def test_packer_that_breaks_is_worth_another_try(kept, monkeypatch):
    """A packer that is killed is an error that another try may overcome."""
    monkeypatch.setattr("ash.workspaces.snapshots.worker_process.ARGV", ("false",))
    with pytest.raises(OSError, match="the packer ended with 1"):
        await kept.save()
    assert [] == list(kept.scratch.iterdir())


async def test_cancelled_save_leaves_nothing(kept, monkeypatch):
    """Cancelling a save kills the packer and removes its files."""
    monkeypatch.setattr("ash.workspaces.snapshots.worker_process.ARGV", ("sleep", "60"))
    with trio.fail_after(5):
        with trio.move_on_after(0.1) as scope:
            await kept.save()
    assert scope.cancelled_caught
    assert [] == list(kept.scratch.iterdir())
    assert [] == await kept.ends()


def test_generations_sort_by_time(now):
    """The names of generations sort by time."""
    names = [module._generation(time) for time in (1.0, 1.0011, 2.5, 1e9, now())]
    assert names == sorted(names)
