"""What is refused before it begins, because it would be over the disk limit."""

import pytest

from ash.errors import InsufficientStorage, TooLarge
from ash.limits import disk_limit
from ash.limits.amounts import MB
from ash.limits.disk_limit import add_up, check_agent, check_kept, check_upload, is_over
from ash.workspaces.copy_program import MAX_DEPTH


@pytest.fixture
def folders(tmp_path):
    """A workspace with a file of 1 MB, and an empty home."""
    made = [tmp_path / "workspace", tmp_path / "home"]
    for folder in made:
        folder.mkdir()
    (made[0] / "file").write_bytes(bytes(MB))
    return made


def test_kept_files_within_the_limit_are_fine(folders):
    """A file that fills the limit to the last byte is within it."""
    check_kept(folders, 1)
    assert not is_over(folders, 1)


def test_kept_files_over_the_limit_are_refused(folders):
    """The error names the limit and both ways out, and a home counts."""
    (folders[1] / "more").write_bytes(b"more")
    with pytest.raises(InsufficientStorage, match="disk limit of 1 MB: delete some") as refused:
        check_kept(folders, 1)
    assert "DELETE /api/sessions/:id/files/*path" in refused.value.text
    assert is_over(folders, 1)


def test_kept_nest_of_folders_is_refused(folders):
    """A sandbox with it would be ended at once."""
    at = folders[0]
    for _ in range(MAX_DEPTH + 1):
        at /= "d"
        at.mkdir()
    with pytest.raises(InsufficientStorage, match="nested more than 100 deep"):
        check_kept(folders, 1024)


def test_session_without_files_is_within_any_limit(tmp_path):
    """Nothing is there to be measured."""
    check_kept([], 1)
    check_kept([tmp_path / "gone"], 1)


@pytest.mark.parametrize(
    ("limit", "sizes", "replaced", "fits"),
    [
        (2, [MB], 0, True),
        (2, [MB, 1], 0, False),
        (2, [MB + 1], 0, False),
        (1, [MB], MB, True),
        (1, [MB + 1], MB, False),
        (1, [1], 0, False),
        (1, [], 0, True),
    ],
)
def test_uploads_count_before_they_are_written(folders, limit, sizes, replaced, fits):
    """The blocks that they will take count, and those of the files that they replace do not."""
    if fits:
        check_upload(folders, limit, sizes, replaced)
    else:
        with pytest.raises(TooLarge, match=rf"disk limit is {limit} MB, its files take 1.0 MB"):
            check_upload(folders, limit, sizes, replaced)


def test_upload_may_make_a_large_session_smaller(folders):
    """A session over its limit takes a file that is smaller than the one it replaces."""
    (folders[0] / "another").write_bytes(bytes(MB))
    with pytest.raises(TooLarge):
        check_upload(folders, 1, [4096], 0)
    check_upload(folders, 1, [4096], MB)


def test_agent_that_leaves_no_room_is_refused(folders):
    """It is not copied, and the error says which limit to raise."""
    check_agent(folders[0], 1)
    (folders[0] / "more").write_bytes(b"more")
    with pytest.raises(InsufficientStorage, match=r"disk limit of 1 MB.*limits\.diskMb"):
        check_agent(folders[0], 1)


def test_sum_ends_when_it_is_enough(monkeypatch):
    """What follows is not looked at, and between slices the caller may end it."""
    monkeypatch.setattr(disk_limit, "SLICE", 2)
    asked, checks = [], []

    def sizes():
        for number in range(10):
            asked.append(number)
            yield 10

    assert 60 == add_up(sizes(), 50, lambda: checks.append(len(asked)))
    assert (list(range(6)), [2, 4]) == (asked, checks)
