"""How host users are reserved, and how folders are given to them."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ash.isolation import uids
from ash.isolation.uids import Uids


def test_take_gives_each_sandbox_another_user():
    """Two live sandboxes never have the same user, and none has the reserved root."""
    users = Uids(first=1000, count=10)
    assert set(range(1001, 1010)) == {users.take(0) for _ in range(9)}


def test_take_gives_the_wanted_user_if_it_is_free():
    """The wanted user is given if no other sandbox has it."""
    users = Uids(first=1000, count=10)
    assert 1005 == users.take(1005)
    assert 1005 != users.take(1005)


@pytest.mark.parametrize("wanted", [0, 999, 1000, 1010, 2**31])
def test_take_gives_no_user_outside_of_its_range(wanted):
    """A user outside of our range is never given, even if it is wanted."""
    assert wanted != Uids(first=1000, count=10).take(wanted)


def test_take_when_there_are_no_more():
    """If all users are taken, there is an error."""
    users = Uids(first=1000, count=3)
    users.take(0), users.take(0)
    with pytest.raises(BlockingIOError):
        users.take(0)


def test_user_that_was_given_back_is_free():
    """A user that was given back can be taken again, but others come first."""
    users = Uids(first=1000, count=3)
    first = users.take(0)
    users.give_back(first)
    assert first != users.take(0)
    assert first == users.take(0)


def test_take_from_many_threads():
    """Threads that take users at the same time get different ones."""
    users = Uids(first=1000, count=1001)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(users.take, [0] * 1000))
    assert 1000 == len(set(taken))


@pytest.fixture
def chowned(monkeypatch):
    """Records the changes of owner, in order, without making them."""
    given = []
    monkeypatch.setattr(os, "chown", lambda *a, **o: given.append((str(a[0]), *a[1:], o)))
    return given


def test_give_takes_the_folder_last(tmp_path, chowned):
    """The folder itself is changed last, so that an interrupted change is done again."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").touch()
    uids.give(tmp_path, 1001)
    paths = [path for path, *_ in chowned]
    assert str(tmp_path) == paths[-1]
    assert {f"{tmp_path}/below", f"{tmp_path}/below/file", str(tmp_path)} == set(paths)


def test_give_does_not_follow_links(tmp_path, chowned):
    """The link itself is changed, not its target."""
    (tmp_path / "folder").symlink_to("/etc")
    (tmp_path / "file").symlink_to("/etc/passwd")
    uids.give(tmp_path, 1001)
    assert {f"{tmp_path}/folder", f"{tmp_path}/file", str(tmp_path)} == {p for p, *_ in chowned}
    assert {False} == {options["follow_symlinks"] for *_, options in chowned}


def test_give_does_nothing_twice(tmp_path, chowned):
    """A folder that already belongs to the user is not walked."""
    (tmp_path / "file").touch()
    uids.give(tmp_path, os.geteuid())
    assert [] == chowned


def test_give_of_an_unreadable_folder(tmp_path, monkeypatch):
    """A folder that can't be listed is an error."""

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(PermissionError):
        uids.give(tmp_path, 1001)
