"""What the command of a hook names."""

import errno
import json
import os
import stat

import pytest

from ash.agent_files.executables import hook_programs, make_executable
from ash.agent_files.sent_files import SentFile, write_sent
from ash.errors import BadRequest
from ash.workspaces.safe_open import open_folder


@pytest.fixture
def root(folder):
    fd = open_folder(folder.root)
    yield fd
    os.close(fd)


def settings(command):
    hook = {"type": "command", "command": command}
    return json.dumps({"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [hook]}]}})


@pytest.mark.parametrize(
    "command",
    [
        "tools/guard.sh",
        "./tools/guard.sh --strict",
        "$CLAUDE_PROJECT_DIR/tools/guard.sh",
        '"$CLAUDE_PROJECT_DIR"/tools/guard.sh',
        '"${CLAUDE_PROJECT_DIR}/tools/guard.sh" x',
        "/workspace/tools/guard.sh",
        "X=1 tools/guard.sh;true",
        "cd . && (tools/guard.sh|cat)",
        "tools/guard.sh 'unclosed",
    ],
)
@pytest.mark.parametrize("file", ["settings.json", "settings.local.json"])
def test_program_of_a_hook_is_found(folder, root, command, file):
    """Wherever it stands in the command, and however it names the agent's folder."""
    folder.write(f".claude/{file}", settings(command))
    assert "tools/guard.sh" in hook_programs(root)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"hooks": 1}',
        '{"hooks": {"Stop": 1}}',
        '{"hooks": {"Stop": [1]}}',
        '{"hooks": {"Stop": [{"hooks": 1}]}}',
        '{"hooks": {"Stop": [{"hooks": [1, {}]}]}}',
        "[" * 100_000,
    ],
)
def test_settings_of_another_shape_name_nothing(folder, root, text):
    """What is wrong with settings is said elsewhere."""
    folder.write(".claude/settings.json", text)
    assert set() == hook_programs(root)


@pytest.mark.parametrize("path", ["../out.sh", "x/../../out.sh", "/etc/x", "..", "a\0b"])
def test_program_outside_of_the_folder_is_not_a_hook_s(folder, root, path):
    """A hostile agent names what it likes; no file outside is ever looked at."""
    folder.write(".claude/settings.json", settings(f"{path} ./in.sh"))
    assert {"in.sh"} == hook_programs(root)


def test_program_with_half_a_character_is_no_file(folder, root):
    """JSON can name it, a file system can't."""
    hook = r'{"hooks": {"PreToolUse": [{"hooks": [{"command": "./a\ud800"}]}]}}'
    folder.write(".claude/settings.json", hook)
    assert set() == hook_programs(root)


def test_only_what_the_kernel_can_execute_is_made_executable(folder, root):
    """Scripts and programs; no text, no folder, nothing that is missing or leads out."""
    folder.write("script", b"#!/bin/sh")
    folder.write("program", b"\x7fELF\x02")
    folder.write("text", b"echo")
    (folder.root / "folder").mkdir()
    folder.link("out", "/etc/passwd")
    names = ["script", "program", "text", "folder", "out", "missing"]
    assert ["script", "program"] == make_executable(root, names)
    assert not os.access(folder.root / "text", os.X_OK)


@pytest.mark.parametrize(
    ("content", "mode"), [(b"#!/bin/sh", 0o755), (b"\x7fELF\x02", 0o755), (b"echo", 0o644)]
)
def test_script_that_was_sent_without_a_mode_is_executable(tmp_path, content, mode):
    """The client's file had a mode that the client did not send."""
    write_sent([SentFile("a", content), SentFile("b", content, mode=0o600)], tmp_path)
    assert [mode, 0o600] == [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]


def test_full_disk_is_not_the_caller_s_fault(tmp_path, monkeypatch):
    """An upload that the machine can't store is no bad request."""

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_sent([SentFile("a", b"x")], tmp_path)


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ([SentFile("a", link="/etc"), SentFile("a/b", b"x")], '"a/b" lies below a link'),
        ([SentFile("a", link="/etc"), SentFile("a/b", link="x")], '"a/b" lies below a link'),
        ([SentFile("a/b"), SentFile("a", link="x")], '"a/b" lies below a link'),
        ([SentFile("a", link="x\0y")], "has a NUL"),
        ([SentFile("a", link="x" * 5000)], "can't be made"),
        ([SentFile("../a", link="x")], "does not stay"),
    ],
)
def test_link_that_would_be_written_through_is_refused(tmp_path, sent, words):
    """Nothing is made through a link, in whichever order the files come."""
    with pytest.raises(BadRequest, match=words):
        write_sent(sent, tmp_path)
    assert not os.path.lexists("/etc/b")


@pytest.mark.parametrize("again", ["a", "./a", "a/", "a//"])
def test_path_that_stands_twice_is_refused(tmp_path, again):
    """One of the two would be lost without a word."""
    with pytest.raises(BadRequest, match='"a" is there twice'):
        write_sent([SentFile("a", b"1"), SentFile(again)], tmp_path)
    assert [] == list(tmp_path.iterdir())
