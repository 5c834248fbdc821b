"""The settings of a workspace, as an agent may leave them, before an engine reads them."""

import json
import os

import pytest

from ash.errors import EngineFailed
from ash.workspaces.mend_settings import mend_settings

SETTINGS = ".claude/settings.json"
LOCAL = ".claude/settings.local.json"
GOOD = '{"permissions": {"deny": ["Bash"]}}'
BACK = "the deployed one is in its place"
ASIDE = f"It was renamed to settings.json.broken; {BACK}"
SKIPPED = json.dumps({"permissions": {"deny": [1] * 200}, "hooks": {"PreToolUse": 5}})


def folder(root, files):
    root.mkdir()
    for path, text in files.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(text)
    return root


def names(root):
    return {path.name for path in root.iterdir()}


@pytest.fixture
def source(tmp_path):
    return folder(tmp_path / "source", {SETTINGS: GOOD})


@pytest.fixture
def workspace(tmp_path):
    return folder(tmp_path / "workspace", {SETTINGS: GOOD})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{bad", "the CLI would drop the whole file"),
        ("[]", "the CLI would drop the whole file"),
        ('{"model": 3}', '"model" must be of type string'),
        ('{"hooks": {"PreToolUse": 5}}', "must be a list of matchers"),
        (SKIPPED, "must be a list of matchers"),
        (" " * 2_000_000, "it can't be checked"),
    ],
)
def test_settings_that_the_cli_would_drop_are_replaced(workspace, source, text, why):
    """By those that were deployed; what the agent wrote is kept beside them."""
    (workspace / SETTINGS).write_text(text)
    (said,) = mend_settings(workspace, source)
    assert (True, True, True) == (said.startswith(SETTINGS), why in said, said.endswith(ASIDE))
    assert GOOD == (workspace / SETTINGS).read_text()
    assert text == (workspace / f"{SETTINGS}.broken").read_text()
    assert [] == mend_settings(workspace, source)


@pytest.mark.parametrize("text", ["{}", '{"model": "opus"}', '{"permissions": {"deny": [1]}}', ""])
def test_settings_that_the_cli_takes_are_left_alone(workspace, source, text):
    """They are the agent's, whatever it has made of them."""
    (workspace / SETTINGS).write_text(text)
    assert [] == mend_settings(workspace, source)
    assert text == (workspace / SETTINGS).read_text()


def test_files_that_were_not_deployed_are_only_set_aside(workspace, source):
    """One that the agent has added itself is nowhere else."""
    (workspace / LOCAL).write_text("{")
    (workspace / ".mcp.json").write_text("5")
    local, servers = mend_settings(workspace, source)
    assert local.endswith("renamed to settings.local.json.broken; the agent's folder has none")
    assert "the CLI would start none of its servers. It was renamed to .mcp.json.broken" in servers
    assert {"settings.json", "settings.local.json.broken"} == names(workspace / ".claude")


def test_settings_are_set_aside_if_the_deployed_folder_is_gone(workspace, tmp_path):
    """As when that version of the agent was deleted."""
    (workspace / SETTINGS).write_text("{")
    (said,) = mend_settings(workspace, tmp_path / "gone")
    assert said.endswith("the agent's folder has none")


def test_fault_that_was_deployed_stays(workspace, source):
    """Only force can have deployed it, and its faults are told."""
    for root in (workspace, source):
        (root / SETTINGS).write_text("{bad")
    assert [] == mend_settings(workspace, source)
    assert "{bad" == (workspace / SETTINGS).read_text()


def test_what_is_no_file_is_replaced(workspace, source):
    """A folder, a pipe, a file without permissions: the CLI could read none of them."""
    broken = workspace / SETTINGS
    for make, why in (
        (broken.mkdir, "is not a file"),
        (lambda: os.mkfifo(broken), "is not a file"),
        (lambda: broken.touch(mode=0), "is closed to its owner"),
    ):
        broken.unlink()
        make()
        (said,) = mend_settings(workspace, source)
        assert said.startswith(f"{SETTINGS} {why}. ")
        assert GOOD == broken.read_text()


def test_link_that_leads_out_is_replaced(workspace, source, tmp_path):
    """What it leads to is neither read nor written."""
    other = tmp_path / "other"
    other.write_text("{theirs")
    (workspace / SETTINGS).unlink()
    (workspace / SETTINGS).symlink_to(other)
    (said,) = mend_settings(workspace, source)
    assert f"{SETTINGS} leads out of the workspace by a link. {ASIDE}" == said
    assert ("{theirs", GOOD) == (other.read_text(), (workspace / SETTINGS).read_text())
    assert other == (workspace / f"{SETTINGS}.broken").readlink()


def test_folder_that_is_a_link_out_is_replaced(workspace, source, tmp_path):
    """The CLI would follow the link inside of the sandbox, where nobody has checked the files."""
    (workspace / ".claude").rename(tmp_path / "other")
    (workspace / ".claude").symlink_to(tmp_path / "other")
    (tmp_path / "other/settings.json").write_text("{theirs")
    (said,) = mend_settings(workspace, source)
    assert said.startswith(".claude led out of the workspace by a link and was renamed to .claude.")
    assert {"settings.json"} == names(tmp_path / "other")
    assert GOOD == (workspace / SETTINGS).read_text()


def test_closed_folder_is_opened(workspace, source):
    """And what is in it is checked."""
    (workspace / SETTINGS).write_text("{")
    (workspace / ".claude").chmod(0)
    opened, replaced = mend_settings(workspace, source)
    assert ".claude was closed to its owner and was opened again" == opened
    assert replaced.endswith(ASIDE)


def test_settings_that_cannot_be_mended_refuse_the_start(workspace, source):
    """In words; the next start finds the same fault."""
    (workspace / SETTINGS).write_text("{")
    for number in ("", *range(1, 20)):
        (workspace / f"{SETTINGS}.broken{number}").mkdir()
    for _ in range(2):
        with pytest.raises(EngineFailed, match="can't be mended"):
            mend_settings(workspace, source)


def test_failed_write_leaves_the_fault_where_it_was(workspace, source, monkeypatch):
    """Without the deployed settings the agent must not run, at the next start neither."""

    def fails(*_args):
        raise OSError(5, "Input/output error")

    (workspace / SETTINGS).write_text("{")
    with monkeypatch.context() as patched:
        patched.setattr("ash.workspaces.mend_settings.write_file", fails)
        with pytest.raises(EngineFailed, match="Input/output error"):
            mend_settings(workspace, source)
    assert "{" == (workspace / SETTINGS).read_text()
    assert [True] == [said.endswith(ASIDE) for said in mend_settings(workspace, source)]


def test_new_settings_belong_to_the_owner_of_the_workspace(workspace, source):
    """A daemon that is root writes them, and the agent's user has to read them."""
    if os.geteuid() == 0:
        os.chown(workspace, 12345, 12345)
    (workspace / SETTINGS).write_text("{")
    mend_settings(workspace, source)
    made = (workspace / SETTINGS).stat()
    assert (workspace.stat().st_uid, 0o644) == (made.st_uid, made.st_mode & 0o777)
