"""Homes as agents leave them, and what the bridge makes of them before the CLI starts."""

import os
from pathlib import Path

import pytest

from bridge import home as homes


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    (tmp_path / ".claude/projects/-some-where").mkdir(parents=True)
    return tmp_path


def test_home_in_order_is_left_alone(home):
    """Settings that the CLI can read stay as they are, and what is not there is not missed."""
    (home / ".claude.json").write_text('{"projects":{}}')
    before = sorted(home.rglob("*"))
    assert [] == homes.mend()
    assert before == sorted(home.rglob("*"))


@pytest.mark.parametrize("name", [".claude.json", ".claude/settings.json"])
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "is no valid JSON"),
        (b"", "is no valid JSON"),
        (b'\xef\xbb\xbf{"a":1}', "is no valid JSON"),
        ('{"a":1}'.encode("utf-16"), "is no valid JSON"),
        (b'{"a":NaN}', "is no valid JSON"),
        (b"[" * 100_000, "is no valid JSON"),
        (b"[]", "is no JSON object"),
    ],
)
def test_settings_that_can_not_be_read_are_set_aside(home, name, content, why):
    """They are kept beside where they were, and a second one does not replace the first."""
    file = home / name
    for kept in (f"{file.name}.broken", f"{file.name}.broken1"):
        file.write_bytes(content)
        assert [f"{file} {why} and was renamed to {kept}"] == homes.mend()
        assert content == file.with_name(kept).read_bytes()
        assert not file.exists()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.mkdir, "is no file"),
        (os.mkfifo, "is no file"),
        (lambda path: path.symlink_to("/nowhere"), "leads nowhere"),
        (lambda path: path.symlink_to(path), "can't be read"),
        (lambda path: [path.touch(), os.truncate(path, 1 << 30)], "is too large"),
    ],
)
def test_settings_that_are_no_file_are_set_aside(home, make, why):
    """They are not opened, because that could take for ever."""
    make(home / ".claude.json")
    (text,) = homes.mend()
    assert text.startswith(f"{home}/.claude.json {why}")
    assert os.path.lexists(home / ".claude.json.broken")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.touch, "was no folder"),
        (lambda path: path.symlink_to("/nowhere"), "led nowhere"),
        (lambda path: path.symlink_to(path), "could not be opened"),
    ],
)
@pytest.mark.parametrize("name", [".claude", ".claude/projects"])
def test_folder_that_is_none_is_set_aside(home, name, make, why):
    """What was in its place is kept."""
    folder = home / name
    folder.rename(home / "before")
    make(folder)
    assert [f"{folder} {why} and was renamed to {folder.name}.broken"] == homes.mend()
    assert os.path.lexists(folder.with_name(f"{folder.name}.broken"))
    assert not os.path.lexists(folder)


def test_link_to_a_folder_is_left_alone(home):
    """Agents keep their configuration where they like."""
    (home / ".claude").rename(home / "mine")
    (home / ".claude").symlink_to("mine")
    assert [] == homes.mend()


def test_closed_folders_are_opened(home):
    """From the outer to the inner ones."""
    closed = [home / ".claude/projects/-some-where", home / ".claude/projects", home / ".claude"]
    for folder in closed:
        folder.chmod(0)
    told = [f"{folder} was closed to its owner and was opened again" for folder in closed[::-1]]
    assert told == homes.mend()
    assert {0o700} == {folder.stat().st_mode & 0o777 for folder in closed}
    assert [] == homes.mend()


def test_configuration_elsewhere_is_looked_at(home, monkeypatch):
    """CLAUDE_CONFIG_DIR has `.claude.json` inside."""
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "elsewhere"))
    (home / "elsewhere").mkdir()
    (home / "elsewhere/.claude.json").write_text("{")
    (text,) = homes.mend()
    assert text.startswith(f"{home}/elsewhere/.claude.json is no valid JSON")
