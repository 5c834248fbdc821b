import json

import pytest

SETTINGS = ".claude/settings.json"
LOST = "the CLI would drop the whole file, its deny rules and hooks too"


def test_good_settings_are_not_mentioned(check):
    """A folder that works has no findings."""
    settings = {
        "permissions": {"deny": ["Bash(rm *)", "Read(./secrets/**)"], "allow": ["mcp__crm__*"]},
        "hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": [guard("sh .claude/guard.sh")]}]},
        "model": "sonnet",
        "our own": {"x": 1},
    }
    assert [] == check({SETTINGS: json.dumps(settings), ".claude/guard.sh": "exit 0\n"})


def test_trailing_comma_is_an_error_with_its_place(check):
    """The CLI would drop the file without a word."""
    text = '{\n  "permissions": {\n    "deny": ["Bash"],\n  }\n}\n'
    assert [f"error {SETTINGS}:3:21: trailing comma; {LOST}"] == check({SETTINGS: text})


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be"])
def test_settings_in_utf_16_are_an_error(check, codec):
    """The CLI reads only one of the two, and other files in neither."""
    content = b"\xfe\xff" * codec.endswith("be") + '{"model": "x"}'.encode(codec)
    said = check({SETTINGS: content, ".mcp.json": content})
    assert [
        f"error {path}:1:1: this is UTF-16; save it as UTF-8"
        for path in sorted([SETTINGS, ".mcp.json"])
    ] == sorted(said)


def test_bytes_that_are_not_utf_8_are_an_error_with_their_place(check):
    """The CLI would replace them, and a rule would match something else."""
    said = check({SETTINGS: b'{\n  "model": "caf\xe9"}'})
    assert [f"error {SETTINGS}:2:16: this is not UTF-8; save the file as UTF-8"] == said


def test_byte_order_mark_is_a_warning(check):
    """The CLI reads past it."""
    [said] = check({SETTINGS: b'\xef\xbb\xbf{"model": "x"}'})
    assert said.startswith(f"warning {SETTINGS}:1:1: begins with a byte order mark")


def test_name_that_stands_twice_is_an_error(check):
    """Only the last counts, so the rules of the first are lost."""
    text = '{"permissions": {"deny": ["Bash"]},\n "permissions": {}}'
    said = check({SETTINGS: text})
    again = "stands here again; the CLI would use the last one alone"
    assert [f'error {SETTINGS}:2:2: "permissions" {again}'] == said


def test_setting_of_the_wrong_type_is_an_error(check):
    """The CLI drops the whole file for it, whichever setting it is."""
    said = check({SETTINGS: '{"cleanupPeriodDays": "30"}', ".claude/settings.local.json": "[]"})
    assert [
        f'error {SETTINGS}:1:23: "cleanupPeriodDays" must be of type number, not string; {LOST}',
        f"error .claude/settings.local.json:1:1: an object is expected, not array; {LOST}",
    ] == said


@pytest.mark.parametrize(
    ("name", "wrong", "right", "text"),
    [
        ("cleanupPeriodDays", -1, 0, '"cleanupPeriodDays" must be 0 or more'),
        ("cleanupPeriodDays", 0.5, 1e3, '"cleanupPeriodDays" must be a whole number'),
        ("feedbackSurveyRate", 1.5, 0.5, '"feedbackSurveyRate" must be 1 or less'),
        ("sandbox", {"enabled": "yes"}, {"enabled": True}, '"enabled" must be of type boolean'),
        ("statusLine", {"command": 1}, {"type": "command", "command": "x"}, '"command" must be of'),
        ("availableModels", ["x", 3], ["x"], '"availableModels" must hold items of type string'),
        ("sshConfigs", [""], [], '"sshConfigs" must hold items of type object'),
    ],
)
def test_setting_out_of_its_bounds_is_an_error(check, name, wrong, right, text):
    """The CLI drops the whole file for it, as for one of the wrong type."""
    [said] = check({SETTINGS: json.dumps({name: wrong})})
    assert said.startswith(f"error {SETTINGS}:1:")
    assert text in said
    assert said.endswith(LOST)
    assert [] == check({SETTINGS: json.dumps({name: right})})


def test_mistyped_guard_is_an_error(check):
    """The CLI would ignore the name, and the rules below it."""
    text = '{"permisions": {}, "permissions": {"dney": []}, "modle": "x", "own": 1}'
    unknown = 'the CLI does not know "{}" and ignores it; did you mean "{}"?'.format
    assert [
        f"error {SETTINGS}:1:2: {unknown('permisions', 'permissions')}",
        f"error {SETTINGS}:1:36: {unknown('dney', 'deny')}",
        f"warning {SETTINGS}:1:49: {unknown('modle', 'model')}",
    ] == check({SETTINGS: text})


def test_deny_rule_that_is_skipped_is_an_error_and_an_allow_rule_a_warning(check):
    """One opens a door, the other closes one."""
    text = '{"permissions": {"deny": ["bash(rm)"], "allow": ["bash(ls)"]}}'
    why = "tools begin with a capital letter: Bash"
    assert [
        f'error {SETTINGS}:1:27: the CLI skips the deny rule "bash(rm)": {why}',
        f'warning {SETTINGS}:1:50: the CLI skips the allow rule "bash(ls)": {why}',
    ] == check({SETTINGS: text})


def test_rule_that_never_matches_is_a_warning(check):
    """The CLI keeps it, and it guards nothing."""
    text = '{"permissions": {"deny": ["Write(*.env)", "Frob"]}}'
    instead = "paths are compared for Edit alone: write Edit(*.env)"
    assert [
        f'warning {SETTINGS}:1:27: the deny rule "Write(*.env)" never matches: {instead}',
        f'warning {SETTINGS}:1:43: the deny rule "Frob" never matches: there is no tool Frob',
    ] == check({SETTINGS: text})


def test_what_needs_a_person_is_a_warning(check):
    """No one sits in front of a session."""
    permissions = {"ask": ["Bash"], "defaultMode": "plan", "allow": ["AskUserQuestion"]}
    files = {
        ".claude/agents/a.md": "---\ntools: Read, ExitPlanMode\n---\nAskUserQuestion\n",
        ".claude/commands/b.md": "---\nallowed-tools:\n  - AskUserQuestion\n---\nx\n",
    }
    said = check({SETTINGS: json.dumps({"permissions": permissions}), **files})
    assert [
        f"warning {SETTINGS}:1:68",
        f"warning {SETTINGS}:1:25",
        f"warning {SETTINGS}:1:50",
        "warning .claude/agents/a.md:2:14",
        "warning .claude/commands/b.md:3:5",
    ] == [line.split(": ")[0] for line in said]


def guard(command):
    return {"type": "command", "command": command}


@pytest.mark.parametrize(
    ("name", "wrong", "right", "text"),
    [
        ("timeout", 0, 0.5, "a number over 0"),
        ("timeout", "5", 5, "a number"),
        ("async", "yes", True, "a boolean"),
        ("asyncRewake", 1, False, "a boolean"),
        ("once", "x", True, "a boolean"),
        ("if", 7, "Bash(ls *)", "a string"),
        ("statusMessage", 3, "looking", "a string"),
        ("shell", "zsh", "bash", "one of bash, powershell"),
        ("onFailure", "stop", "block", "one of block, continue"),
        ("args", "x", ["x"], "a list of strings"),
        ("args", [1], [], "a list of strings"),
    ],
)
def test_option_of_a_guard_that_the_cli_does_not_take_is_an_error(check, name, wrong, right, text):
    """The CLI would drop the file, its deny rules and this guard too."""
    settings = {"hooks": {"PreToolUse": [{"hooks": [{**guard("ls"), name: wrong}]}]}}
    [said] = check({SETTINGS: json.dumps(settings)})
    assert f'PreToolUse: "{name}" must be {text}; the CLI would drop' in said
    settings["hooks"]["PreToolUse"][0]["hooks"][0][name] = right
    found = check({SETTINGS: json.dumps(settings)})
    assert [] == [line for line in found if line.startswith("error")]


@pytest.mark.parametrize(
    "command",
    ["trap '' TERM; x", "exec 0<&- 1>&-; x", "2>/dev/null x", "ulimit -t 5; x", "kill $$"],
)
def test_what_the_shell_does_by_itself_is_not_a_missing_program(check, command):
    """A deploy is refused for a guard that can't run."""
    assert [] == check({SETTINGS: hooks("PreToolUse", command)})


def hooks(event, *commands):
    given = [guard(command) for command in commands]
    return json.dumps({"hooks": {event: [{"hooks": given}]}})


@pytest.mark.parametrize(
    ("hook", "cure"),
    [
        ({"type": "http", "url": "https://a.example"}, 'add "onFailure": "block"'),
        ({"type": "command", "command": "true", "args": []}, 'add "onFailure": "block"'),
        ({"type": "prompt", "prompt": "Is it safe?"}, "use a command"),
    ],
)
def test_guard_that_fails_open_is_a_warning(check, hook, cure):
    """The CLI goes on when such a hook fails, unless it is told not to."""
    said = f"if this PreToolUse hook fails or hangs, what it guards goes on; {cure}"
    assert said in str(check(hooked([hook])))
    if cure.startswith("add"):
        assert said not in str(check(hooked([{**hook, "onFailure": "block"}])))


def test_guard_that_runs_beside_is_a_warning(check):
    """The tool does not wait for it."""
    said = str(check(hooked([{"type": "command", "command": "true", "async": True}])))
    assert "this PreToolUse hook runs beside what it guards and can not refuse it" in said


def hooked(hooks):
    return {SETTINGS: json.dumps({"hooks": {"PreToolUse": [{"matcher": "Bash", "hooks": hooks}]}})}


THEN = "all that it guards would be refused"


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("$CLAUDE_PROJECT_DIR/.claude/no.sh", "there is no file .claude/no.sh"),
        ('"${CLAUDE_PROJECT_DIR}"/plain.sh x', "plain.sh is not executable (chmod +x plain.sh)"),
        ("./crlf.sh", "crlf.sh has Windows line ends (CRLF), so its #! line names no program"),
        ("bash crlf.sh && ls", "crlf.sh has Windows line ends (CRLF), which bash can't read"),
        ("./lang.x", "lang.x needs nolang, and there is no program nolang in a sandbox"),
        ("A=1 exec nosuch -x | cat", "there is no program nosuch in a sandbox"),
        ("/workspace/no.sh", "there is no file no.sh"),
        ("/usr/bin/nosuch", "there is no program /usr/bin/nosuch in a sandbox"),
        ("echo 'x", "its quotes do not end"),
    ],
)
def test_guard_that_cannot_run_is_an_error(check, command, why):
    """The agent could do nothing that it guards."""
    files = {
        "plain.sh": "exit 2\n",
        "crlf.sh": "#!/bin/sh\r\nexit 2\r\n",
        "lang.x": "#!/usr/bin/env -S nolang -x\n",
    }
    settings = hooks("PreToolUse", command)
    said = check({SETTINGS: settings, **files})
    assert [f"this PreToolUse hook can't run: {why}; {THEN}"] == [
        line.partition(": ")[2] for line in said
    ]
    assert said[0].startswith(f"error {SETTINGS}:1:")


@pytest.mark.parametrize(
    "command",
    [
        "sh run.sh",
        "./run.sh",
        "$CLAUDE_PROJECT_DIR/run.sh",
        "python3 -c 'x'",
        "if true; then ls; fi",
        "$HOME/x",
        "~/x",
        "[ -f x ] && y",
        "$TOOL x",
        "/tmp/made.sh",
    ],
)
def test_guard_that_can_run_or_may_is_not_mentioned(check, command):
    """Nothing is said of what can't be known before the start."""
    assert [] == check({SETTINGS: hooks("PreToolUse", command), "run.sh": "#!/bin/sh\n"})


def test_guard_without_a_shell_that_cannot_run_guards_nothing(check):
    """The CLI starts it by itself, and goes on if it can't."""
    hook = {"type": "command", "command": "nosuch", "args": ["x"], "onFailure": "block"}
    [said] = check({SETTINGS: json.dumps({"hooks": {"PreToolUse": [{"hooks": [hook]}]}})})
    assert said.startswith(f"error {SETTINGS}:1:")
    assert said.endswith("in a sandbox; what it guards would go on without it")


def test_what_install_sh_may_bring_is_a_warning(check):
    """It runs before the first hook."""
    files = {SETTINGS: hooks("PreToolUse", "nosuch"), "install.sh": "apt-get install nosuch\n"}
    [said] = check(files)
    assert said.startswith(f"warning {SETTINGS}:1:")
    assert "unless install.sh brings it" in said


def test_hook_that_guards_nothing_is_a_warning(check):
    """The session loses it, and nothing else."""
    [said] = check({SETTINGS: hooks("PostToolUse", "./no.sh")})
    assert said.startswith(f"warning {SETTINGS}:1:")
    assert said.endswith("there is no file no.sh; it would do nothing")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hooks": {"PreTolUse": []}}, 'there is no hook event "PreTolUse", so it never runs; did'),
        ({"hooks": {"PreToolUse": {}}}, "PreToolUse: must be a list of matchers; the CLI would d"),
        ({"hooks": {"Stop": [{"hooks": [{"type": "x"}]}]}}, 'Stop: "type" must be one of agent, '),
        ({"hooks": {"Stop": [{"hooks": [guard(1)]}]}}, 'Stop: a hook of type command needs "com'),
        ({"hooks": []}, '"hooks" must be an object, not array; the CLI ignores it'),
        ({"PreToolUse": []}, '"PreToolUse" must stand in "hooks"; the CLI would drop the whole f'),
    ],
)
def test_hook_of_the_wrong_shape_is_an_error(check, settings, said):
    """The CLI ignores it; one that guards makes it drop the whole file."""
    [line] = check({SETTINGS: json.dumps(settings)})
    assert line.startswith(f"error {SETTINGS}:1:")
    assert line.partition(": ")[2].startswith(said)
