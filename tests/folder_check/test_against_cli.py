"""The check says the same of settings as `claude doctor`, which reads them as a session does."""

import json
import re
import subprocess

import pytest

from ash.folder_check import Surroundings, check_folder
from ash.folder_check.permission_rules import BadRule, never_matches, read
from ash.folder_check.settings_types import CHOICES, HOOK_EVENTS, KINDS
from bridge.cli_settings import cli_path

pytestmark = pytest.mark.cli

SETTINGS = ".claude/settings.json"


def doctor(folder, files):
    """What the CLI says about the files, line by line."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    trusted = {"projects": {str(folder): {"hasTrustDialogAccepted": True}}}
    (folder / ".claude.json").write_text(json.dumps(trusted))
    env = {
        "HOME": str(folder),
        "PATH": "/usr/bin:/bin",
        "IS_SANDBOX": "1",
        "ANTHROPIC_API_KEY": "none",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:9",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }
    said = subprocess.run(
        [cli_path(), "doctor"],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return said.stdout.replace(str(folder) + "/", "").splitlines()


def named(lines, pattern):
    return {match[1] for line in lines if (match := re.match(pattern, line))}


RULES = [
    *("Bash", "Bash(ls *)", "Bash(command:rm)", "Bash(:*)", "Bash(a* b:*)", "Bash(a)b", "Ba(sh"),
    *("Read()", "()", "read", "Read(src/**)", "Edit(src:*)", "Write(*.md)", "Glob(x)", "Frob(x)"),
    *("NotebookEdit(x)", "WebFetch(https://x)", "WebFetch(domain:x.org)", "WebSearch(a*)"),
    *("mcp__a", "mcp__a__*", "mcp__a__b(x)", "mcp__*", "*", "Ba*", "TodoWrite", "LS", "my_tool"),
    *("Task", "Agent(x)", "KillShell", "SlashCommand(x)", "Skill(x)", "Monitor"),
]


@pytest.mark.parametrize("kind", ["allow", "deny", "ask"])
def test_permission_rules_are_understood_as_the_cli_does(tmp_path, kind):
    """Those that the CLI skips and those that never match are the same."""
    said = doctor(tmp_path, {SETTINGS: json.dumps({"permissions": {kind: RULES}}).encode()})
    skipped, idle = set(), set()
    for text in RULES:
        try:
            if never_matches(read(text, kind), kind):
                idle.add(text)
        except BadRule:
            skipped.add(text)
    assert named(said, r'.*Invalid permission rule "(.*)" was skipped') == skipped
    begin, end = (
        r'- Permission \w+ rule (?:\([^)]*\): |")',
        '"? (?:matches no|is not|targets|mixes)',
    )
    never = rf"{begin}(\S+?(?: b:\*\))?){end}"
    assert named(said, never) == idle


def test_types_of_settings_are_those_of_the_cli(tmp_path):
    """A setting of another type is found for each that the CLI names, and the file is dropped."""
    wrong = {name: 7 if kind != "number" else "x" for name, kind in KINDS.items()}
    wrong |= dict.fromkeys(CHOICES, "no such choice")
    said = doctor(tmp_path, {SETTINGS: json.dumps(wrong).encode()})
    assert wrong.keys() == named(said, rf"- {SETTINGS} \S (\w+): (?:Expected|Invalid value)")


@pytest.mark.parametrize("wrong", [-1, 0.5, 1e12, ["x"], [3], [{}]])
def test_bounds_of_settings_are_those_of_the_cli(tmp_path, wrong):
    """Numbers that are out of bounds, and lists that hold something else, are the same."""
    kind = "array" if isinstance(wrong, list) else "number"
    settings = {name: wrong for name, each in KINDS.items() if each == kind}
    said = doctor(tmp_path, {SETTINGS: json.dumps(settings, indent=0).encode()})
    found = [str(each) for each in check_folder(tmp_path, Surroundings())]
    of_the_cli = named(said, rf"- {SETTINGS} \S (\w+)(?:\.0)?: (?:Expected|Number|Too big)")
    assert of_the_cli == named(found, r'.*: "(\w+)" must')


def test_hook_events_are_those_of_the_cli(tmp_path):
    """The CLI lists its events when it meets another."""
    said = doctor(tmp_path, {SETTINGS: b'{"hooks": {"NoSuchEvent": []}}'})
    [listed] = named(said, r".*Valid events: (.*)")
    assert set(HOOK_EVENTS) == set(listed.split(", "))


DROPPED = {
    "trailing comma": '{"model": "x",}',
    "comment": '{/* x */ "model": "x"}',
    "control character": '{"model": "a\tb"}',
    "null": "null",
    "rules in a string": '{"permissions": {"deny": "Bash"}}',
    "unknown mode": '{"permissions": {"defaultMode": "yolo"}}',
    "guard without its matcher": '{"hooks": {"PreToolUse": [{"type": "command"}]}}',
    "guard at the top": '{"PreToolUse": [{"hooks": [{"type": "command", "command": "x"}]}]}',
}
KEPT = [
    '\ufeff{"model": "x"}',
    "",
    '{"foo": {"bar": 1}}',
    '{"hooks": {"PreToolUse": [{"hooks": [{"type": "command", "command": "ls"}]}]}}',
    '{"env": {"A": 1}}',
    '{"enabledMcpjsonServers": "x"}',
    '{"permissions": {"defaultMode": "manual"}}',
    '{"permissions": {"allow": ["Read(//etc/**)", "Bash(a (b))"]}}',
]


@pytest.mark.parametrize(("dropped", "kept"), list(zip(DROPPED, KEPT, strict=True)))
def test_files_that_the_cli_drops_are_errors(tmp_path, dropped, kept):
    """The CLI complains of such a file, and the check does; what the CLI takes is no error."""
    local = ".claude/settings.local.json"
    said = doctor(tmp_path, {SETTINGS: DROPPED[dropped].encode(), local: kept.encode()})
    found = [each for each in check_folder(tmp_path, Surroundings()) if each.severity == "error"]
    assert {SETTINGS} == named(said, r"- (\S+\.json)\b") == {each.path for each in found}
