"""Where the folders of sessions are, and how they are made, moved, copied and removed."""

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
    """Each session has its own copy of the agent's files, and an empty home."""
    paths, other = workspaces.prepare("one", source), workspaces.prepare("other", source)
    (paths.workspace / "CLAUDE.md").write_text("changed")
    assert "be kind" == (other.workspace / "CLAUDE.md").read_text()
    assert "be kind" == (source / "CLAUDE.md").read_text()
    assert [] == list(paths.home.iterdir())


def test_folders_of_sessions_are_private(workspaces, source, data_dir):
    """Other users of the host can't look into a session's folders."""
    workspaces.prepare("one", source)
    assert 0o700 == stat.S_IMODE((data_dir / "sandboxes" / "one").stat().st_mode)
    workspaces.keep("one")
    assert 0o700 == stat.S_IMODE((data_dir / "sessions" / "one").stat().st_mode)


def test_link_that_leads_out_of_an_agent_is_not_copied(workspaces, source):
    """A link in an agent that leads out is refused."""
    (source / "link").symlink_to("/etc")
    with pytest.raises(BadRequest):
        workspaces.prepare("one", source)


def test_folders_of_a_session_are_kept(workspaces, source, data_dir):
    """Workspace and home are moved, not copied."""
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
    """A dead socket is removed before the folders are kept."""
    paths = workspaces.prepare("one", source)
    paths.sockets.mkdir()
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(paths.sockets / "s"))
    workspaces.keep("one")
    kept = {path.name for path in (data_dir / "sessions" / "one").iterdir()}
    assert "sockets" not in kept


def test_only_the_latest_is_kept(workspaces, source, data_dir):
    """Keeping replaces what was kept before."""
    for text in ("first", "second"):
        paths = workspaces.prepare("one", source)
        (paths.workspace / text).touch()
        workspaces.keep("one")
    names = {path.name for path in (data_dir / "sessions" / "one" / "workspace").iterdir()}
    assert {"CLAUDE.md", "second"} == names


def test_keep_without_live_folders_changes_nothing(workspaces, source, data_dir):
    """Keeping a session without live folders changes nothing."""
    workspaces.prepare("one", source)
    assert workspaces.keep("one")
    assert not workspaces.keep("one")
    assert not workspaces.keep("never")
    assert ["one"] == [path.name for path in (data_dir / "sessions").iterdir()]


def test_live_ids_are_those_a_crash_left(workspaces, source, data_dir):
    """After a crash the ids with live folders are listed."""
    for session in ("one", "other"):
        workspaces.prepare(session, source)
    assert {"one", "other"} == set(Workspaces(data_dir).live_ids())


def test_first_start_has_no_live_ids(workspaces):
    """An empty data directory has no ids."""
    assert [] == workspaces.live_ids()


def test_restore_moves_kept_folders_back(workspaces, source, data_dir):
    """Restoring moves the kept folders back; without any it returns None."""
    paths = workspaces.prepare("one", source)
    (paths.workspace / "made").write_text("by the agent")
    workspaces.keep("one")
    again = workspaces.restore("one")
    assert paths == again
    assert "by the agent" == (again.workspace / "made").read_text()
    assert [] == list((data_dir / "sessions").iterdir())
    assert workspaces.restore("never") is None


def test_unclaimed_sandbox_leaves_nothing(workspaces, source, data_dir):
    """The folders of an unclaimed sandbox are removed."""
    workspaces.prepare("warm", source)
    workspaces.discard("warm")
    assert [] == list((data_dir / "sandboxes").iterdir())


def test_fork_has_the_parent_s_folders(workspaces, source, data_dir):
    """A fork has the parent's files and home, whether the parent is live or kept."""
    paths = workspaces.prepare("parent", source)
    (paths.workspace / "new").write_text("hello")
    (paths.home / "transcript").write_text("hi")
    workspaces.fork("parent", "first")
    workspaces.keep("parent")
    workspaces.fork("parent", "second")
    for name in ("first", "second"):
        assert "hello" == (data_dir / "sessions" / name / "workspace" / "new").read_text()
        assert "hi" == (data_dir / "sessions" / name / "home" / "transcript").read_text()


def test_fork_of_a_session_without_files(workspaces, data_dir):
    """Forking a session without files is an error and leaves nothing."""
    with pytest.raises(NotFound):
        workspaces.fork("nobody", "fork")
    assert not (data_dir / "sessions" / "fork").exists()


def test_fork_that_can_not_be_made_leaves_nothing(workspaces, source, data_dir, monkeypatch):
    """A copy that fails is an error with its reason and leaves nothing."""
    workspaces.prepare("parent", source)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(OSError):
        workspaces.fork("parent", "fork")
    assert [] == workspaces.kept_ids()


def test_fork_on_a_full_disk_is_unavailable(workspaces, source, monkeypatch):
    """A full disk in the copying process is the same error as in ours."""
    workspaces.prepare("parent", source)
    program = f"import sys; sys.exit('{errno.ENOSPC} No space left on device')"
    failing = partial(subprocess.run, [sys.executable, "-c", program])
    monkeypatch.setattr(subprocess, "run", lambda _, **how: failing(**how))
    with pytest.raises(Unavailable, match="it is full"):
        workspaces.fork("parent", "fork")


def test_folder_has_its_name_only_when_complete(workspaces, source, data_dir, monkeypatch):
    """A copy that was interrupted is not under the session's id."""
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
    assert (["one"], ["fork"]) == (workspaces.live_ids(), workspaces.kept_ids())


def test_folders_that_can_not_be_kept_are_found_where_they_are(workspaces, source, data_dir):
    """Files that can't be moved are read in place, and the session goes on with them."""
    paths = workspaces.prepare("one", source)
    (paths.workspace / "made").write_text("by the agent")
    with immutable(data_dir / "sandboxes"):
        assert not workspaces.put_away("one", claimed=True)
    with workspaces.opened("one") as (_, where):
        assert "sandbox" == where
    assert paths == workspaces.restore("one")
    assert "by the agent" == (paths.workspace / "made").read_text()


def test_disk_that_takes_no_writes_is_unavailable(workspaces, source, data_dir):
    """The error names no path, nothing changes, and later everything works again."""
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
