"""Folders that are made to hold the check up, or to break it."""

import json
import os

import msgspec
import pytest

from ash.folder_check.finding import MOST
from ash.folder_check.prose import prose

LONG = "x" * 5000
SETTINGS = ".claude/settings.json"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- " * 200_000,
        "`" * 1_000_000,
        "` `` " * 200_000,
        "``` " * 200_000,
        "~~~\n" * 200_000,
        "@a/b" + "@x" * 400_000,
        f"@{LONG}.md @a\0b.md",
    ],
)
def test_prompt_of_any_kind_is_read_in_one_pass(check, text):
    """A pattern that looks for each end again and again would take minutes."""
    assert len(text) == len(prose(text))
    check({"CLAUDE.md": text})


def test_settings_of_any_kind_are_read(check):
    """Names without end, nests and commands that are no command."""
    hooks = [{"hooks": [{"type": "command", "command": command}]} for command in (LONG, "a\0", "")]
    check({SETTINGS: json.dumps({"hooks": {"PreToolUse": hooks}})})
    check({SETTINGS: "[" * 100_000})
    servers = {"a": {"type": "http", "url": "${" * 100_000}, "b": {"command": LONG}}
    check({".mcp.json": json.dumps({"mcpServers": servers})})


def test_only_the_first_findings_are_kept(check):
    """Of each severity, so that many warnings hide no error."""
    files = {"CLAUDE.md": " ".join(f"@{number}.md" for number in range(10 * MOST))}
    said = check({**files, SETTINGS: "{]"})
    assert (1, MOST) == tuple(
        sum(line.startswith(severity) for line in said) for severity in ("error", "warning")
    )


def test_json_that_is_too_large_to_check_is_an_error(check):
    """What is not read may be anything."""
    [said] = check({SETTINGS: b" " * (1024 * 1024 + 1)})
    assert f"error {SETTINGS}:1:1: larger than 1 MB; it can't be checked" == said


def test_findings_can_be_sent_whatever_the_names_are(check):
    """Half a character in a JSON text, and a name of a file that is not UTF-8."""
    files = {
        os.fsdecode(b".claude/rules/caf\xe9.md"): "@missing.md",
        SETTINGS: r'{"permissions": {"deny": ["x\ud800 ("]}, "hooks": {"PreToolUs\ud800": []}}',
        ".mcp.json": r'{"mcpServers": {"a\ud800": {"type": "x"}}}',
    }
    said = check(files)
    assert 4 == len(msgspec.json.decode(msgspec.json.encode(said)))
    assert said[-1].startswith("warning .claude/rules/caf\ufffdE9.md:1:1: @missing.md is not there")
