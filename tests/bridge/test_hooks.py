"""Hooks of an agent's folder on the real CLI: a guard that fails lets nothing through."""

import json

import pytest

from tests.support.bridge import start_bridge

pytestmark = pytest.mark.cli

BOUNDS = {"ASH_HOOK_TIMEOUT": "1", "ASH_START_HOOK_TIMEOUT": "1"}


def _hook(command, **more):
    return [{"hooks": [{"type": "command", "command": command, **more}]}]


@pytest.fixture
def bridge_with(model, tmp_path):
    """A bridge of an agent with these hooks; its workspace has `guard.sh`, which denies."""

    def bridge(**hooks):
        folder = tmp_path / "workspace" / ".claude"
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps({"hooks": hooks}))
        guard = tmp_path / "workspace" / "guard.sh"
        guard.write_text("#!/bin/sh\necho not that >&2\nexit 2\n")
        guard.chmod(0o755)
        return start_bridge("claude-agent", tmp_path, model.url, **BOUNDS)

    return bridge


def _ran(tmp_path):
    return (tmp_path / "workspace" / "ran").exists()


@pytest.mark.parametrize(
    ("hook", "said"),
    [
        (_hook("sleep 999"), 'hook "sleep 999" did not end within 1 seconds'),
        (_hook("sleep 998", timeout=2), 'hook "sleep 998" did not end within 1.5 seconds'),
        (_hook("./guard.sh"), "not that"),
    ],
)
def test_guard_holds(bridge_with, tmp_path, hook, said):
    """The tool does not run; the agent and the log are told which hook refused, and why."""
    with bridge_with(PreToolUse=hook) as bridge:
        turn = bridge.open().turn("BASH: touch ran")
        log = bridge.log
    assert said in turn.result["result"]
    assert said in log
    assert not _ran(tmp_path)


def test_guard_that_lost_its_x_bit_holds(bridge_with, tmp_path):
    """Also when the agent itself took the bit away, in the middle of its session."""
    with bridge_with(PreToolUse=_hook("./guard.sh")) as bridge:
        bridge.open()
        (tmp_path / "workspace" / "guard.sh").chmod(0o644)
        turn = bridge.turn("BASH: touch ran")
    assert "can't be run (exit code 126), so the tool was not run" in turn.result["result"]
    assert not _ran(tmp_path)


def test_message_is_not_given_to_an_agent_whose_guard_hangs(bridge_with, model):
    """The model is not asked, and the turn says which hook held it."""
    with bridge_with(UserPromptSubmit=_hook("sleep 999")) as bridge:
        turn = bridge.open().turn("a secret")
    assert "did not end within 1 seconds" in str(turn.raw)
    assert "a secret" not in [request.text for request in model.requests]


def test_session_starts_without_a_hook_that_hangs(bridge_with):
    """It is ended in time, and named in the log; what it prints is bounded."""
    command = "head -c 10000000 /dev/zero | tr '\\0' x; sleep 999"
    with bridge_with(SessionStart=_hook(command)) as bridge:
        turn = bridge.open().turn("hello")
        log = bridge.log
    assert "echo: hello" == turn.text
    assert "did not end within 1 seconds" in log
    assert 2**20 > max(len(raw) for raw in turn.raw)
