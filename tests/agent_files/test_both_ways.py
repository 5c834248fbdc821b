"""What of a folder travels does not depend on the way: by path or by upload."""

import errno
import os
import socket
import stat

import pytest

from ash.agent_files import arrival as taking
from ash.errors import BadRequest
from ash.workspaces.copy_program import MAX_DEPTH
from tests.support.processes import open_descriptors


def paths(copy):
    return sorted(str(path.relative_to(copy)) for path in copy.rglob("*"))


def mode(file):
    return stat.S_IMODE(file.stat().st_mode)


def test_files_folders_and_permissions_travel(folder, arrive):
    """Contents, modes and empty folders are as they were; setuid is not."""
    folder.write("run.sh", b"\x00\xff", mode=0o750)
    folder.write("secret", mode=0o600)
    folder.write("setuid", mode=0o4755)
    (folder.root / "empty" / "deep").mkdir(parents=True)
    (folder.root / "empty").chmod(0o2500)
    copy, arrival = arrive()
    assert ["CLAUDE.md", "empty", "empty/deep", "run.sh", "secret", "setuid"] == paths(copy)
    assert b"\x00\xff" == (copy / "run.sh").read_bytes()
    assert [0o750, 0o600, 0o755] == [mode(copy / name) for name in ("run.sh", "secret", "setuid")]
    assert [0o755] * 3 == [mode(path) for path in (copy, copy / "empty", copy / "empty" / "deep")]
    assert ([], None) == (arrival.warnings, arrival.env)


def test_file_that_its_owner_can_t_read_becomes_readable(folder, arrive):
    """The daemon may be root and read it; the agent is not, and its deny rules would be lost."""
    folder.write(".claude/settings.json", b"{}", mode=0o000)
    if os.geteuid():
        with pytest.raises((BadRequest, PermissionError)):
            arrive()
        return
    copy, _ = arrive()
    assert 0o400 == mode(copy / ".claude" / "settings.json")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("link", "CLAUDE.md"),
        ("sub/up", "../CLAUDE.md"),
        (".claude/skills", "../.agents/skills"),
        ("dangling", "not/there"),
        ("itself", "itself"),
    ],
)
def test_link_within_the_folder_stays_a_link(folder, arrive, path, target):
    """Links to files, to folders and to nothing are kept as they are."""
    folder.write(".agents/skills/greet/SKILL.md")
    folder.link(path, target)
    copy, arrival = arrive()
    assert target == str((copy / path).readlink())
    assert [] == arrival.warnings


def test_link_through_a_link_keeps_its_way(folder, arrive):
    """What a link says is not changed for another way to the same place."""
    folder.write(".agents/skills/greet/SKILL.md")
    folder.link(".claude/skills", "../.agents/skills")
    folder.link("greet", ".claude/skills/greet")
    copy, _ = arrive()
    assert ".claude/skills/greet" == str((copy / "greet").readlink())


def test_link_by_the_folder_s_own_path_stays_inside(folder, arrive):
    """A link that goes round by the folder's own path leads to the same file of the copy."""
    folder.link("sub/absolute", folder.root / "CLAUDE.md")
    folder.link("sub/round", "../../folder/CLAUDE.md")
    copy, _ = arrive()
    assert ["../CLAUDE.md"] * 2 == [
        str((copy / "sub" / name).readlink()) for name in ("absolute", "round")
    ]


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "..", "../not-there", "sub/out/x"])
def test_link_that_leads_out_is_refused(folder, arrive, tmp_path, target):
    """The error names the link and says how to leave it out; nothing is copied."""
    (tmp_path / "secret").write_text("s3cret")
    folder.link("sub/out", "/etc")
    folder.write(".ashignore", "/sub/out\n" if target != "sub/out/x" else "")
    folder.link("link", target)
    with pytest.raises(BadRequest, match=r'The link "(link|sub/out)" leads out.*\.ashignore'):
        arrive()
    assert not (tmp_path / "copy").exists()


def test_link_that_leads_out_and_stays_behind_does_not_matter(folder, arrive):
    """What is left out may lead anywhere: a `.venv` has links to the system's Python."""
    folder.link(".venv/bin/python", "/usr/bin/python3")
    folder.link("data", "/mnt/data")
    folder.write(".ashignore", "/data")
    copy, _ = arrive()
    assert [".ashignore", "CLAUDE.md"] == paths(copy)


def test_link_to_what_stays_behind_is_named(folder, arrive):
    """It leads nowhere in the copy, where before it led somewhere."""
    folder.write("node_modules/x/index.js")
    folder.link("index.js", "node_modules/x/index.js")
    folder.link("top", ".")
    folder.link("was.never", "there")
    copy, arrival = arrive()
    assert not (copy / "index.js").exists()
    assert "index.js: leads nowhere, node_modules/x/index.js is left out" == arrival.warnings[-1]
    assert 2 == len(arrival.warnings)


def test_what_is_left_out_by_default_is_named(folder, arrive):
    """One line for each kind, with how to keep it."""
    for name in (".git", ".venv", "node_modules", "a/__pycache__", "b/__pycache__"):
        folder.write(f"{name}/file")
    folder.write(".env.local", "SECRET=1")
    copy, arrival = arrive()
    assert ["CLAUDE.md", "a", "b"] == paths(copy)
    why = "left out by default; the line"
    assert [
        f'.env.local: {why} "!.env*" in .ashignore keeps it',
        f'.git: {why} "!.git" in .ashignore keeps it',
        f'.venv: {why} "!.venv" in .ashignore keeps it',
        f'a/__pycache__ and 1 more: {why} "!__pycache__" in .ashignore keeps it',
        f'node_modules: {why} "!node_modules" in .ashignore keeps it',
    ] == sorted(arrival.warnings)


def test_ashignore_has_the_last_word(folder, arrive):
    """It leaves out what its owner names, without a warning, and brings back what he wants."""
    rules = "*.log\n!keep.log\n!.git\n!node_modules\n/data/*\n!/data/small\nbuild/\n"
    folder.write(".ashignore", rules)
    folder.write("build/x")
    folder.write("a/build")
    names = (
        ".git/HEAD",
        "node_modules/x/i.js",
        "a/x.log",
        "keep.log",
        "data/big/x",
        "data/small/x",
    )
    for name in names:
        folder.write(name)
    copy, arrival = arrive()
    files = [path for path in paths(copy) if (copy / path).is_file()]
    assert [
        ".ashignore",
        ".git/HEAD",
        "CLAUDE.md",
        "a/build",
        "data/small/x",
        "keep.log",
        "node_modules/x/i.js",
    ] == files
    assert [] == arrival.warnings


def test_what_is_neither_file_nor_folder_is_left_out(folder, arrive):
    """Sockets, pipes and the locks of Emacs are left out, and named."""
    os.mkfifo(folder.root / "pipe")
    folder.link(".#CLAUDE.md", "me@host.1:2")
    folder.write("sub/.#file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder.root / "sock"))
        copy, arrival = arrive()
    assert ["CLAUDE.md", "sub", "sub/.#file"] == paths(copy)
    assert [
        ".#CLAUDE.md: left out, it is a lock of Emacs",
        "pipe: left out, it is a pipe",
        "sock: left out, it is a socket",
    ] == arrival.warnings


@pytest.mark.parametrize("ignore", ["", "!.git"])
def test_worktree_is_said_not_to_be_a_repository(folder, arrive, ignore):
    """Its `.git` is a file that points elsewhere, kept or not."""
    folder.write(".ashignore", ignore)
    folder.write(".git", "gitdir: /home/me/repo/.git/worktrees/x")
    copy, arrival = arrive()
    (warning,) = arrival.warnings
    assert warning.startswith(".git: the repository of a worktree")
    assert bool(ignore) == (copy / ".git").exists()


def test_worktree_that_its_owner_leaves_out_needs_no_word(folder, arrive):
    """Who names `.git` in `.ashignore` expects no repository."""
    folder.write(".ashignore", ".git")
    folder.write(".git", "gitdir: /home/me/repo/.git/worktrees/x")
    assert [] == arrive()[1].warnings


def test_env_file_is_the_environment(folder, arrive):
    """Its variables arrive, the file does not, and no warning has a value."""
    folder.write(".env", "TOKEN=s3cret")
    copy, arrival = arrive()
    assert ["CLAUDE.md"] == paths(copy)
    assert {"TOKEN": "s3cret"} == arrival.env
    assert [".env: left out, its variables are the agent's env"] == arrival.warnings


@pytest.mark.parametrize(("ignore", "kept"), [(".env", False), ("!.env*", True)])
def test_env_file_is_read_whatever_is_ignored(folder, arrive, ignore, kept):
    """`.ashignore` decides only about the file; what its owner decides is not warned about."""
    folder.write(".ashignore", ignore)
    folder.write(".env", "A=1")
    copy, arrival = arrive()
    assert kept == (copy / ".env").exists()
    assert ({"A": "1"}, []) == (arrival.env, arrival.warnings)


@pytest.mark.parametrize("target", ["../.env", "/etc/environment", "not-there"])
def test_env_file_elsewhere_is_not_read(folder, arrive, tmp_path, target):
    """A link that leads out, or nowhere, is not followed, and that is said."""
    (tmp_path / ".env").write_text("A=1")
    folder.link(".env", target)
    copy, arrival = arrive()
    assert ["CLAUDE.md"] == paths(copy)
    assert (None, [".env: not read, it is not a regular file of this folder"]) == (
        arrival.env,
        arrival.warnings,
    )


@pytest.mark.parametrize("name", [".env", ".ashignore"])
def test_file_that_is_too_long_is_not_read_in_part(folder, arrive, name):
    """Half of the variables or of the patterns would be worse than an error."""
    folder.write(name, b"# 345678\n" * 120_000)
    with pytest.raises(BadRequest, match=f"{name}: it has more than 1 MB"):
        arrive()


def test_env_folder_is_not_an_env_file(folder, arrive):
    """Some call their virtual environment `.env`."""
    folder.write(".env/bin/python")
    _, arrival = arrive()
    assert arrival.env is None
    assert ['.env: left out by default; the line "!.env*" in .ashignore keeps it'] == (
        arrival.warnings
    )


def test_name_that_is_not_utf_8_arrives(folder, arrive):
    """Files, links and what is left out have a spelling that is text."""
    folder.write(os.fsdecode(b"caf\xe9/caf\xe9.txt"))
    folder.link("link", os.fsdecode(b"caf\xe9/caf\xe9.txt"))
    folder.link(os.fsdecode(b".#\xe9"), "me@host.1:2")
    copy, arrival = arrive()
    assert "x" == (copy / os.fsdecode(b"caf\xe9/caf\xe9.txt")).read_text()
    assert "x" == (copy / "link").read_text()
    assert [".#\ufffdE9: left out, it is a lock of Emacs"] == arrival.warnings


def test_hook_becomes_executable(folder, arrive):
    """What Claude runs is executable when it arrives, also behind a link, and that is said."""
    script = b"#!/bin/sh\n"
    folder.write(".claude/hooks/guard.sh", script)
    folder.write(".claude/hooks/fine.sh", script, mode=0o755)
    folder.write(".claude/hooks/README.md")
    folder.write(".agents/skills/pdf/scripts/fill.py", script, mode=0o640)
    folder.link(".claude/skills", "../.agents/skills")
    folder.write("other.sh", script)
    copy, arrival = arrive()
    assert 0o755 == mode(copy / ".claude/hooks/guard.sh")
    assert 0o750 == mode(copy / ".agents/skills/pdf/scripts/fill.py")
    assert [0o644] * 2 == [mode(copy / name) for name in (".claude/hooks/README.md", "other.sh")]
    assert [
        ".claude/hooks/guard.sh: made executable, so that Claude can run it",
        ".claude/skills/pdf/scripts/fill.py: made executable, so that Claude can run it",
    ] == arrival.warnings


def test_file_that_can_not_be_read_is_named(folder, arrive, tmp_path, monkeypatch):
    """A file of the source that is closed to the server, or gone, refuses the deploy by name."""
    folder.write("sub/closed")

    def closed(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(taking, "open_unlinked", closed)
    with pytest.raises(BadRequest, match=r'"(CLAUDE\.md|sub/closed)" can\'t be read: Permission'):
        arrive()
    assert not (tmp_path / "copy").exists()


def test_prompt_that_is_left_out_is_refused(folder, arrive):
    """An agent without its `CLAUDE.md` is none."""
    folder.write(".ashignore", "*.md")
    with pytest.raises(BadRequest, match=r"CLAUDE\.md is (left out|missing)"):
        arrive()


def test_folders_that_are_nested_too_deeply_are_refused(folder, arrive, tmp_path):
    """What a fork could not copy is not deployed; the deepest that it could is."""
    deep = folder.root.joinpath(*["d"] * MAX_DEPTH)
    deep.mkdir(parents=True)
    copy, _ = arrive()
    assert copy.joinpath(*["d"] * MAX_DEPTH).is_dir()
    (deep / "d").mkdir()
    copy.rename(tmp_path / "first")
    with pytest.raises(BadRequest, match="nested too deeply"):
        arrive()


@pytest.mark.parametrize(
    "fault",
    [(errno.EIO, "folder"), (errno.ENOSPC, "copy"), (errno.EACCES, "copy")],
    ids=["broken disk", "full disk", "closed data directory"],
)
def test_fault_of_the_disk_is_not_the_caller_s(arrive, tmp_path, monkeypatch, fault):
    """What is wrong with the machine is no bad request."""
    number, where = fault

    def fail(*_, **__):
        raise OSError(number, os.strerror(number), str(tmp_path / where / "CLAUDE.md"))

    monkeypatch.setattr(taking, "copy_contents", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        arrive()
    assert ["folder"] == [path.name for path in tmp_path.iterdir()]


def test_file_that_becomes_a_link_is_not_followed(folder, arrive, monkeypatch):
    """A file that is replaced while the folder is copied is refused by name."""
    folder.write("notes")
    look = taking.survey

    def changed_afterwards(root, descriptor):
        found = look(root, descriptor)
        (root / "notes").unlink()
        (root / "notes").symlink_to("/etc/passwd")
        return found

    monkeypatch.setattr(taking, "survey", changed_afterwards)
    with pytest.raises(BadRequest, match='"notes" can\'t be read: Too many levels'):
        arrive()


def test_nothing_stays_open(folder, arrive):
    """Files that are read on the way are closed, also when they are refused."""
    folder.write(".ashignore", "x")
    folder.write(".env", "A=1")
    folder.write(".claude/settings.json", "{}")
    folder.write(".claude/hooks/a.sh", "#!/bin/sh")
    before = open_descriptors()
    arrive()
    assert before == open_descriptors()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"fine\n[z-a]\n", r"\.ashignore: line 2 is not a pattern"),
        (b"\n!\n", r"\.ashignore: line 2 is not a pattern"),
        (b"\xff\xfea\x00", r"\.ashignore: it is not UTF-8"),
    ],
)
def test_ashignore_that_means_nothing_is_refused(folder, arrive, text, words):
    """A line that could leave out too little is an error, by its number."""
    folder.write(".ashignore", text)
    with pytest.raises(BadRequest, match=words):
        arrive()


def test_ashignore_elsewhere_is_refused(folder, arrive, tmp_path):
    """A link out of the folder is not followed, and not taken for an empty file."""
    (tmp_path / "rules").write_text("*.log")
    folder.link(".ashignore", "../rules")
    with pytest.raises(BadRequest, match=r"\.ashignore"):
        arrive()
