"""The folders of sessions."""

import errno
import socket
import stat
import subprocess
import sys
from functools import partial

import pytest

from ash.errors import BadRequest, NotFound, Unavailable
from ash.workspaces import workspaces as module
from ash.workspaces.workspaces import Workspaces
from tests.support.read_only import immutable


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def workspaces(data_dir):
    return Workspaces(data_dir)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("be kind")
    return folder


def test_session_gets_a_copy_of_the_agent_s_files(workspaces, source):
    """What an agent changes is its session's alone; its home is empty."""
    paths, other = workspaces.prepare("one", source), workspaces.prepare("other", source)
    (paths.workspace / "CLAUDE.md").write_text("changed")
    assert "be kind" == (other.workspace / "CLAUDE.md").read_text()
    assert "be kind" == (source / "CLAUDE.md").read_text()
    assert [] == list(paths.home.iterdir())


def test_folders_of_sessions_are_private(workspaces, source, data_dir):
    """No other user of the host can look into a session."""
    workspaces.prepare("one", source)
    assert 0o700 == stat.S_IMODE((data_dir / "sandboxes" / "one").stat().st_mode)
    workspaces.keep("one")
    assert 0o700 == stat.S_IMODE((data_dir / "sessions" / "one").stat().st_mode)


def test_link_that_leads_out_of_an_agent_is_not_copied(workspaces, source):
    """The copy is checked again: nothing of the host gets into a sandbox this way."""
    (source / "link").symlink_to("/etc")
    with pytest.raises(BadRequest):
        workspaces.prepare("one", source)


def test_what_a_session_leaves_is_kept(workspaces, source, data_dir):
    """Files and home move away together; nothing is copied, nothing stays behind."""
    paths = workspaces.prepare("one", source)
    (paths.workspace / "made").write_text("by the agent")
    (paths.home / "transcript").touch()
    inode = (paths.workspace / "made").stat().st_ino
    workspaces.keep("one")
    kept = data_dir / "sessions" / "one"
    assert inode == (kept / "workspace" / "made").stat().st_ino
    assert (kept / "home" / "transcript").exists()
    assert not paths.workspace.parent.exists()


def test_socket_of_a_daemon_that_was_killed_is_not_kept(workspaces, source, data_dir):
    """It leads nowhere any more; what is kept is what the agent has left."""
    paths = workspaces.prepare("one", source)
    paths.sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(paths.sockets / "s"))
    workspaces.keep("one")
    kept = {path.name for path in (data_dir / "sessions" / "one").iterdir()}
    assert "sockets" not in kept


def test_only_the_latest_is_kept(workspaces, source, data_dir):
    """What was kept before is replaced."""
    for text in ("first", "second"):
        paths = workspaces.prepare("one", source)
        (paths.workspace / text).touch()
        workspaces.keep("one")
    names = {path.name for path in (data_dir / "sessions" / "one" / "workspace").iterdir()}
    assert {"CLAUDE.md", "second"} == names


def test_session_that_left_nothing_keeps_what_was_kept(workspaces, source, data_dir):
    """Keeping twice is fine, and so is keeping what never was."""
    workspaces.prepare("one", source)
    assert workspaces.keep("one")
    assert not workspaces.keep("one")
    assert not workspaces.keep("never")
    assert ["one"] == [path.name for path in (data_dir / "sessions").iterdir()]


def test_crash_leaves_what_can_be_put_away(workspaces, source, data_dir):
    """The next start is told whose folders a daemon that crashed left."""
    for session in ("one", "other"):
        workspaces.prepare(session, source)
    assert {"one", "other"} == set(Workspaces(data_dir).left())


def test_first_start_has_nothing_to_put_away(workspaces):
    """An empty data directory is fine."""
    assert [] == workspaces.left()


def test_session_goes_on_with_what_was_kept(workspaces, source, data_dir):
    """What was kept is the live one again, moved and not copied; without any there is none."""
    paths = workspaces.prepare("one", source)
    (paths.workspace / "made").write_text("by the agent")
    workspaces.keep("one")
    again = workspaces.restore("one")
    assert paths == again
    assert "by the agent" == (again.workspace / "made").read_text()
    assert [] == list((data_dir / "sessions").iterdir())
    assert workspaces.restore("never") is None


def test_unclaimed_sandbox_leaves_nothing(workspaces, source, data_dir):
    """What no session has used is thrown away."""
    workspaces.prepare("warm", source)
    workspaces.discard("warm")
    assert [] == list((data_dir / "sandboxes").iterdir())


def test_fork_has_what_its_parent_has(workspaces, source, data_dir):
    """Files and conversation are copied, of a parent that lives and of one that was put away."""
    paths = workspaces.prepare("parent", source)
    (paths.workspace / "new").write_text("hello")
    (paths.home / "transcript").write_text("hi")
    workspaces.fork("parent", "first")
    workspaces.keep("parent")
    workspaces.fork("parent", "second")
    for name in ("first", "second"):
        assert "hello" == (data_dir / "sessions" / name / "workspace" / "new").read_text()
        assert "hi" == (data_dir / "sessions" / name / "home" / "transcript").read_text()


def test_fork_of_what_has_no_files(workspaces, data_dir):
    """A parent without files can't be forked, and leaves nothing."""
    with pytest.raises(NotFound):
        workspaces.fork("nobody", "fork")
    assert not (data_dir / "sessions" / "fork").exists()


def test_fork_that_can_not_be_made_leaves_nothing(workspaces, source, data_dir, monkeypatch):
    """A copy that fails is an error that says why, not half a session."""
    workspaces.prepare("parent", source)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError):
        workspaces.fork("parent", "fork")
    assert [] == workspaces.kept()


def test_fork_on_a_full_disk_is_told(workspaces, source, monkeypatch):
    """The copy is another process's, and so is its error; its number comes along."""
    workspaces.prepare("parent", source)
    program = f"import sys; sys.exit('{errno.ENOSPC} No space left on device')"
    failing = partial(subprocess.run, [sys.executable, "-c", program])
    monkeypatch.setattr(subprocess, "run", lambda _, **how: failing(**how))
    with pytest.raises(Unavailable, match="it is full"):
        workspaces.fork("parent", "fork")


def test_folder_has_its_name_when_it_is_whole(workspaces, source, data_dir, monkeypatch):
    """Who is killed while it copies leaves a folder that is no session's."""
    seen = []

    def spied(function, folder):
        def spy(*args, **options):
            seen.append([path.name for path in (data_dir / folder).iterdir()])
            return function(*args, **options)

        return spy

    monkeypatch.setattr(module, "copy_tree", spied(module.copy_tree, "sandboxes"))
    workspaces.prepare("one", source)
    monkeypatch.setattr(subprocess, "run", spied(subprocess.run, "sessions"))
    workspaces.fork("one", "fork")
    assert [["one.new"], ["fork.new"]] == seen
    assert (["one"], ["fork"]) == (workspaces.left(), workspaces.kept())


def test_what_can_not_be_put_away_is_found_where_it_is(workspaces, source, data_dir):
    """Its files are read there, and the session goes on with them."""
    paths = workspaces.prepare("one", source)
    (paths.workspace / "made").write_text("by the agent")
    with immutable(data_dir / "sandboxes"):
        assert not workspaces.put_away("one", claimed=True)
    with workspaces.opened("one") as (_, where):
        assert "sandbox" == where
    assert paths == workspaces.restore("one")
    assert "by the agent" == (paths.workspace / "made").read_text()


def test_disk_that_takes_no_writes_is_told(workspaces, source, data_dir):
    """In words, without a path; nothing is changed, and all goes on when it takes them again."""
    for name in ("one", "other"):
        workspaces.prepare(name, source)
    workspaces.keep("one")
    for folder, asked in (
        ("sandboxes", lambda: workspaces.prepare("new", source)),
        ("sandboxes", lambda: workspaces.restore("one")),
        ("sessions", lambda: workspaces.fork("one", "fork")),
    ):
        with immutable(data_dir / folder), pytest.raises(Unavailable) as refused:
            asked()
        assert str(data_dir) not in refused.value.text
        asked()
