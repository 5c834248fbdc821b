"""The list of a workspace's files, complete up to its limits."""

import os
import socket
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from ash.workspaces import listing, safe_open
from ash.workspaces.listing import list_files
from ash.workspaces.safe_open import open_folder


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "secret").write_text("secret")
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def listed(workspace):
    """Lists the files of the workspace."""
    root = open_folder(workspace)

    def listed(*, hidden=False, check=lambda: None):
        return list_files(root, hidden=hidden, check=check)

    yield listed
    os.close(root)


def make(workspace, *paths):
    for path in paths:
        file = workspace / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)


def paths(found):
    return [file.path for file in found.files]


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_files_of_all_folders_are_listed(workspace, listed):
    """Files are listed with their path in the workspace, sorted; folders are not."""
    make(workspace, "b.txt", "a/z", "a/b/c", "B")
    (workspace / "empty").mkdir()
    found = listed()
    assert (["B", "a/b/c", "a/z", "b.txt"], False) == (paths(found), found.truncated)


def test_file_has_its_size_and_time(workspace, listed):
    """A file has its size in bytes and its time of change in ISO 8601."""
    make(workspace, "file")
    os.utime(workspace / "file", (0, 1767323045.678))
    [file] = listed().files
    assert (4, "2026-01-02T03:04:05.678Z") == (file.size, file.modified_at)


def test_time_before_1970_is_shown_as_1970(workspace, listed):
    """A time before 1970, which an agent may set, is shown as 1970."""
    make(workspace, "file")
    os.utime(workspace / "file", (0, -(2**31)))
    assert ["1970-01-01T00:00:00.000Z"] == [file.modified_at for file in listed().files]


def test_time_after_all_years_is_shown_as_the_last_second(workspace, listed, monkeypatch):
    """A time after the year 9999 is shown as its last second."""
    make(workspace, "file")
    status = os.stat_result((0o100644, 0, 0, 0, 0, 0, 0, 0, 2**62, 0))
    monkeypatch.setattr(listing, "_stat", lambda *_: status)
    assert ["9999-12-31T23:59:59.000Z"] == [file.modified_at for file in listed().files]


def test_hidden_files_are_listed_if_asked_for(workspace, listed):
    """Names that begin with a dot are listed only with `hidden`."""
    make(workspace, ".env", ".claude/settings.json", "a/.cache/x", "a/b")
    assert ["a/b"] == paths(listed())
    assert [".claude/settings.json", ".env", "a/.cache/x", "a/b"] == paths(listed(hidden=True))


def test_packages_and_caches_are_never_listed(workspace, listed):
    """node_modules, .git and __pycache__ are left out at any depth."""
    make(workspace, "node_modules/x", "a/node_modules/y", ".git/HEAD", "a/__pycache__/z", "a/b")
    assert ["a/b"] == paths(listed(hidden=True))


def test_special_files_are_not_listed(workspace, listed, monkeypatch):
    """FIFOs and sockets are left out."""
    os.mkfifo(workspace / "fifo")
    monkeypatch.chdir(workspace)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert [] == paths(listed())


def test_link_to_a_file_inside_is_listed_as_that_file(workspace, listed):
    """A link to a file inside has the size of that file."""
    make(workspace, "folder/file")
    (workspace / "link").symlink_to("folder/file")
    found = listed()
    assert ["folder/file", "link"] == paths(found)
    assert [11, 11] == [file.size for file in found.files]


def test_other_links_are_not_listed(workspace, listed):
    """Links that lead out, to nothing, in a circle or to folders are left out."""
    make(workspace, "folder/file")
    targets = {
        "out": "../secret",
        "up": "..",
        "absolute": "/etc/passwd",
        "magic": "/proc/self/root/etc/passwd",
        "nothing": "missing",
        "circle": "circle",
        "again": "folder",
        "self": ".",
    }
    for name, target in targets.items():
        (workspace / name).symlink_to(target)
    assert ["folder/file"] == paths(listed())


def test_links_are_left_out_without_openat2(workspace, listed, monkeypatch):
    """Without openat2 no link is listed."""
    monkeypatch.setattr(safe_open, "_kernel_resolves", lambda: False)
    make(workspace, "a/file")
    (workspace / "link").symlink_to("a/file")
    assert ["a/file"] == paths(listed())


def test_name_that_is_not_utf_8_is_listed(workspace, listed):
    """A byte that is not UTF-8 is spelled as U+FFFD and its digits."""
    Path(os.fsdecode(os.fsencode(workspace) + b"/a\xffb")).touch()
    assert ["a\ufffdFFb"] == paths(listed())


def test_list_ends_at_its_limit_and_says_so(workspace, listed, monkeypatch):
    """A list is truncated at its limit; files higher up come first."""
    make(workspace, "deep/x", "deep/y", "a", "b", "c")
    monkeypatch.setattr(listing, "MAX_LISTED", 3)
    found = listed()
    assert (["a", "b", "c"], True) == (paths(found), found.truncated)


def test_list_of_just_the_limit_is_complete(workspace, listed, monkeypatch):
    """A list of exactly the limit is not marked as truncated."""
    make(workspace, "a", "b", "c")
    monkeypatch.setattr(listing, "MAX_LISTED", 3)
    assert not listed().truncated


def test_entries_that_are_not_listed_count_too(workspace, listed, monkeypatch):
    """A tree of only folders and links ends at the limit too."""
    for number in range(10):
        (workspace / f"link{number}").symlink_to("missing")
    monkeypatch.setattr(listing, "MAX_SEEN", 9)
    found = listed()
    assert ([], True) == (paths(found), found.truncated)


def test_walk_ends_when_its_caller_says_so(workspace, listed):
    """`check` is called at every entry, and no descriptor stays open when it raises."""
    for number in range(10):
        (workspace / f".hidden{number}").touch()
    asked = 0

    def check():
        nonlocal asked
        asked += 1
        if asked == 5:
            raise InterruptedError("enough")

    before = descriptors()
    with pytest.raises(InterruptedError, match="enough"):
        listed(check=check)
    assert (5, before) == (asked, descriptors())


def test_depth_costs_no_descriptors(workspace, listed):
    """A thousand nested folders are walked with a few descriptors."""
    here = os.open(workspace, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(os.open("f", os.O_CREAT, dir_fd=below))
        os.close(here)
        here = below
    os.close(here)

    asked, most = 0, 0

    def check():
        nonlocal asked, most
        asked += 1
        if asked % 100 == 0:
            most = max(most, descriptors())

    before = descriptors()
    found = listed(check=check)
    after = descriptors()
    # Python's rmtree, which pytest uses, fails at a thousand nested folders.
    subprocess.run(["rm", "-rf", workspace], check=True)

    assert most <= before + 3
    assert before == after
    assert 2000 < len(found.files) < 3000


def test_folder_that_is_swapped_for_a_link_is_never_left(workspace, listed):
    """While folders are swapped for links that lead out, nothing outside is listed."""
    outside = workspace.parent / "outside"
    make(outside, "private")
    real, fake, place = (workspace / name for name in ("real", "fake", "place"))
    make(real, "public")
    fake.symlink_to("../outside")
    stop = threading.Event()

    def swap():
        while not stop.is_set():
            for one in (real, fake):
                one.rename(place)
                place.rename(one)

    thread = threading.Thread(target=swap)
    thread.start()
    seen = set()
    try:
        for _ in range(1000):
            with suppress(FileNotFoundError):
                seen |= {Path(path).name for path in paths(listed())}
    finally:
        stop.set()
        thread.join()

    assert {"public"} == seen
