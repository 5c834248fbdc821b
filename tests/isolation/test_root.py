"""Which files of the host a sandbox sees."""

import sys
from pathlib import Path

import pytest

from ash.isolation import root
from ash.isolation.root import Bind


def targets(made):
    return {bind.target for bind in made.binds}


def test_root_has_no_folder_of_people_or_services():
    """No folder of the host's users or services is shown."""
    made = root.make([], [])
    ours = (sys.prefix, sys.base_prefix, "/usr", "/lib", "/bin", "/sbin", "/etc", root.LIBRARY)
    assert [] == [target for target in targets(made) if not target.startswith(ours)]


def test_root_is_read_only():
    """No part of the root can be written."""
    assert {False} == {bind.writable for bind in root.make([], []).binds}


def test_etc_is_cut_down():
    """/etc has only what programs need; users, groups and hosts are made up."""
    made = root.make([], [])
    shown = {target for target in targets(made) if target.startswith("/etc/")}
    assert {"/etc/passwd", "/etc/group", "/etc/hosts"} <= shown
    assert set() == shown & {"/etc/shadow", "/etc/ssl", "/etc/ssl/private", "/etc/resolv.conf"}
    sources = {bind.target: bind.source for bind in made.binds}
    assert Path(root.__file__).parent / "etc/passwd" == sources["/etc/passwd"]


def test_prefix_of_a_project_shows_only_python(tmp_path, monkeypatch):
    """A virtual environment in a project's folder does not show the project."""
    for name in ("bin", "lib", "data", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "pyvenv.cfg").touch()
    (tmp_path / ".env").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    shown = {target for target in targets(root.make([], [])) if target.startswith(str(tmp_path))}
    assert {f"{tmp_path}/{name}" for name in ("bin", "lib", "pyvenv.cfg")} == shown


def test_readable_is_shown_once():
    """A readable folder that is visible anyway adds no bind."""
    assert root.make([], []).binds == root.make([Path("/usr/bin"), Path("/usr")], []).binds


def test_readable_is_shown_where_it_is(tmp_path):
    """A readable folder has the same path inside."""
    assert Bind(tmp_path, str(tmp_path)) == root.make([tmp_path], []).binds[-1]


def test_hidden_is_covered_only_if_it_would_be_seen(tmp_path):
    """A hidden folder that is not visible anyway needs no cover."""
    data = tmp_path / "data"
    cover = ("--tmpfs", str(data), "--remount-ro", str(data))
    assert cover == root.make([tmp_path], [data]).hidden[:4]
    assert str(data) not in root.make([], [data]).hidden


@pytest.mark.parametrize("file", ["/proc/kallsyms", "/proc/cmdline", "/proc/keys"])
def test_files_of_the_kernel_are_covered(file):
    """Files of /proc that reveal the host are covered if they exist."""
    assert Path(file).exists() == (file in root.make([], []).hidden)
