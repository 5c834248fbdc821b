import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from ash.isolation import uids
from ash.isolation.uids import Uids


def test_take_gives_each_sandbox_another_user():
    """No two that live at a time are the same, and none is root's inside."""
    users = Uids(first=1000, count=10)
    assert set(range(1001, 1010)) == {users.take(0) for _ in range(9)}


def test_take_gives_what_is_wanted_if_it_is_free():
    """A workspace that has a user already keeps it, if nobody else has it now."""
    users = Uids(first=1000, count=10)
    assert 1005 == users.take(1005)
    assert 1005 != users.take(1005)


@pytest.mark.parametrize("wanted", [0, 999, 1000, 1010, 2**31])
def test_take_gives_nobody_else_s_user(wanted):
    """A workspace of root's or of a stranger's does not make the sandbox one of these."""
    assert wanted != Uids(first=1000, count=10).take(wanted)


def test_take_when_there_are_no_more():
    """With all users taken there is an error, not one for two."""
    users = Uids(first=1000, count=3)
    users.take(0), users.take(0)
    with pytest.raises(BlockingIOError):
        users.take(0)


def test_give_back_makes_room():
    """Who is gone leaves the user to others, but not at once if there are others."""
    users = Uids(first=1000, count=3)
    first = users.take(0)
    users.give_back(first)
    assert first != users.take(0)
    assert first == users.take(0)


def test_take_from_many_threads():
    """Sandboxes that start at the same time are different users."""
    users = Uids(first=1000, count=1001)
    with ThreadPoolExecutor(8) as threads:
        taken = list(threads.map(users.take, [0] * 1000))
    assert 1000 == len(set(taken))


@pytest.fixture
def chowned(monkeypatch):
    """What is given to whom, in order; nothing really is, so that it can be seen without root."""
    given = []
    monkeypatch.setattr(os, "chown", lambda *a, **o: given.append((str(a[0]), *a[1:], o)))
    return given


def test_give_takes_the_folder_last(tmp_path, chowned):
    """Cut short, it begins anew the next time: the folder tells whether all was done."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").touch()
    uids.give(tmp_path, 1001)
    paths = [path for path, *_ in chowned]
    assert str(tmp_path) == paths[-1]
    assert {f"{tmp_path}/below", f"{tmp_path}/below/file", str(tmp_path)} == set(paths)


def test_give_does_not_follow_links(tmp_path, chowned):
    """A link is given away itself: what it leads to may be the host's."""
    (tmp_path / "folder").symlink_to("/etc")
    (tmp_path / "file").symlink_to("/etc/passwd")
    uids.give(tmp_path, 1001)
    assert {f"{tmp_path}/folder", f"{tmp_path}/file", str(tmp_path)} == {p for p, *_ in chowned}
    assert {False} == {options["follow_symlinks"] for *_, options in chowned}


def test_give_does_nothing_twice(tmp_path, chowned):
    """A folder that is the user's already is not looked through, however large it is."""
    (tmp_path / "file").touch()
    uids.give(tmp_path, os.geteuid())
    assert [] == chowned


def test_give_of_what_can_not_be_read(tmp_path, monkeypatch):
    """A folder that can't be listed is an error, not something left out."""

    def fail(*_):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", fail)
    with pytest.raises(PermissionError):
        uids.give(tmp_path, 1001)
