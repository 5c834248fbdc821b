"""A hook that guards and fails refuses; any other hook is bounded."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import bridge

RUNNER = Path(bridge.__file__).with_name("hook_runner.py")


@pytest.fixture
def run(tmp_path):
    """Runs a hook with that command; what it exited with and printed."""

    def run(command, event="PreToolUse", seconds=20.0, at_start=20.0, **settings):
        prefix, env = settings.pop("prefix", ""), settings.pop("env", {})
        if settings:
            hooks = [{"hooks": [{"type": "command", "command": command, **settings}]}]
            (tmp_path / ".claude").mkdir()
            file = tmp_path / ".claude" / "settings.json"
            file.write_text(json.dumps({"hooks": {event: hooks}}))
        words = ["-I", "-S", RUNNER, str(seconds), str(at_start), prefix, command]
        done = subprocess.run(
            [sys.executable, *words],
            input=json.dumps({"hook_event_name": event, "tool_name": "Bash"}),
            capture_output=True,
            text=True,
            check=False,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
                "CLAUDE_PROJECT_DIR": str(tmp_path),
                "SHELL": "/bin/bash",
                **env,
            },
            cwd=tmp_path,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("code", [0, 1, 2])
def test_hook_that_answers_is_left_alone(run, code):
    """Its exit code, its output and what it is given are as without us."""
    command = f"grep -c PreToolUse; echo oh >&2; exit {code}"
    assert (code, "1\n", "oh\n") == run(command)


def test_guard_that_hangs_refuses(run):
    """The words name the hook, the bound, and what follows."""
    said = "did not end within 0.2 seconds, so the tool was not run."
    assert (2, "", f'The PreToolUse hook "sleep 999" {said}\n') == run("sleep 999", seconds=0.2)


@pytest.mark.parametrize(
    ("command", "fault"),
    [
        ("./missing.sh", "can't be run (exit code 127)"),
        ("touch guard.sh; ./guard.sh", "can't be run (exit code 126)"),
        ("kill -9 $$", "was killed by signal 9"),
        ("head -c 300000 /dev/zero", "printed more than 256 KiB"),
        ("head -c 300000 /dev/zero >&2", "printed more than 256 KiB"),
    ],
)
@pytest.mark.parametrize(
    ("event", "follows"),
    [
        ("PreToolUse", ", so the tool was not run"),
        ("PermissionRequest", ", so the permission was not given"),
        ("UserPromptSubmit", ", so the message was not given to the agent"),
        ("PostToolUse", ""),
    ],
)
def test_hook_that_fails_says_so(run, command, fault, event, follows):
    """A guard refuses; what another one watches has happened already."""
    code, out, err = run(command, event)
    assert (bool(follows), True) == (code == 2, code != 0)
    assert err.endswith(f'The {event} hook "{command}" {fault}{follows}.\n')
    assert len(out) <= 256 * 1024


def test_own_timeout_goes_before_the_servers(run):
    """The CLI would give up at that time and run the tool, so we refuse just before."""
    begun = time.monotonic()
    assert 2 == run("sleep 999", timeout=1)[0]
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "file", [".claude/agents/a.md", ".claude/skills/s/SKILL.md", ".claude/commands/c.md"]
)
def test_timeout_in_a_frontmatter_counts(run, tmp_path, file):
    """Skills, subagents and commands have hooks of their own."""
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    hook = "hooks:\n  PreToolUse:\n    - hooks:\n        - type: command\n          command: {}\n"
    path.write_text(f"---\n{hook.format('sleep 999')}          timeout: 1\n---\ntimeout: 500\n")
    assert (2, True) == ((answer := run("sleep 999"))[0], "within 0.5 seconds" in answer[2])


def test_timeout_of_a_plugin_s_hook_counts(run, tmp_path):
    """The CLI names the plugin's folder in the hook's environment."""
    folder = tmp_path / "plugin" / "hooks"
    folder.mkdir(parents=True)
    hook = {"type": "command", "command": "sleep 9 # ${CLAUDE_PLUGIN_ROOT}", "timeout": 1}
    hooks = {"hooks": {"PreToolUse": [{"hooks": [hook]}]}}
    (folder / "hooks.json").write_text(json.dumps(hooks))
    answer = run(f"sleep 9 # {folder.parent}", env={"CLAUDE_PLUGIN_ROOT": str(folder.parent)})
    assert (2, True) == (answer[0], "within 0.5 seconds" in answer[2])


def test_own_timeout_may_be_longer(run):
    """Who writes it has thought about it."""
    assert (0, "ok\n", "") == run("sleep 0.5; echo ok", seconds=0.1, timeout=20)


def test_hook_that_holds_the_start_has_its_own_bound(run):
    """A session begins without it, be its timeout as long as it may."""
    code, _, err = run("sleep 999", "SessionStart", at_start=0.2, timeout=500)
    assert (1, True) == (code, "did not end within 0.2 seconds." in err)


@pytest.mark.parametrize("settings", [{"async": True}, {"asyncRewake": True}])
def test_hook_that_nobody_waits_for_has_no_bound(run, settings):
    assert (0, "ok\n", "") == run("sleep 0.5; echo ok", "PostToolUse", 0.1, **settings)


def test_hook_may_say_itself_that_nobody_waits_for_it(run):
    command = """echo '{"async": true}'; sleep 0.5; echo ok"""
    assert (0, '{"async": true}\nok\n', "") == run(command, "PostToolUse", 0.3)


def test_background_process_of_a_hook_does_not_hold_it(run):
    """It is the hook's end that counts, not that of what it has left running."""
    begun = time.monotonic()
    assert (0, "ok\n", "") == run("sleep 5 & echo ok")
    assert time.monotonic() - begun < 4


def test_hook_gets_the_shell_that_it_asks_for(run):
    """It is `sh`, as the CLI has it, if the hook names none."""
    assert (0, "yes\n", "") == run("echo ${BASH_VERSION:+yes}", shell="bash")


def test_own_prefix_of_the_agent_is_used(run, tmp_path):
    """The agent's own CLAUDE_CODE_SHELL_PREFIX stands before its hooks as before."""
    prefix = tmp_path / "prefix"
    prefix.write_text('#!/bin/sh\necho "prefixed: $1"\n')
    prefix.chmod(0o755)
    assert (0, "prefixed: true\n", "") == run("true", prefix=str(prefix))


def test_shortest_timeout_counts_if_a_command_stands_for_several_matchers(run, tmp_path):
    """The CLI gives up after the one that is its own, and nobody tells us which one that is."""
    hook = {"type": "command", "command": "sleep 999"}
    matchers = [
        {"matcher": "Write", "hooks": [{**hook, "timeout": 500}, {**hook, "async": True}]},
        {"matcher": "Bash", "hooks": [{**hook, "timeout": 1}]},
    ]
    file = tmp_path / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"hooks": {"PreToolUse": matchers}}))
    code, _, err = run("sleep 999")
    assert 2 == code
    assert "did not end within 0.5 seconds" in err


def test_timeout_longer_than_the_kernel_s_longest_changes_nothing(run):
    """A runner that fails would let the tool run."""
    assert (2, "", "no\n") == run("echo no >&2; exit 2", timeout=3_000_000)


def test_runner_that_fails_refuses(run):
    """Whatever goes wrong in it, nobody has checked the tool."""
    code, _, err = run("exit 0", timeout=10**400)
    assert 2 == code
    assert "so the tool was not run" in err


def test_time_until_the_runner_is_ready_counts(tmp_path):
    """The CLI counts from the start of the process, which a busy machine may need to begin."""
    words = [sys.executable, "-I", "-S", str(RUNNER), "1", "20", "", "sleep 0.5"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'sleep 1; exec "$@"', "sh", *words],
        input=b'{"hook_event_name": "PreToolUse"}',
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    assert 2 == done.returncode
