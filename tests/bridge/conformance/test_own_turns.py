"""Turns that an engine begins by itself, when a command in the background has ended."""

import time

import pytest

from ash.protocol import BackgroundTasks


@pytest.fixture
def go(tmp_path):
    """The command in the background ends when this file is there."""
    return tmp_path / "go"


def waiting_for(go, after=""):
    """A prompt that asks for such a command, and for what follows its end."""
    return f"BACKGROUND: {command(go)}\n{after}" if after else f"BACKGROUND: {command(go)}"


def command(go):
    return f"until [ -e {go} ]; do sleep 0.01; done"


def test_end_of_a_command_in_the_background_is_a_turn_of_its_own(bridge, go) -> None:
    """It is announced, has one result and one `done`, and nothing of it is in the next turn."""
    asked = bridge.turn(waiting_for(go))
    assert ("", [[command(go)]]) == (asked.own, asked.tasks)
    assert "run_in_background" in str(asked.of("assistant"))
    go.touch()
    own = bridge.finish()
    assert ([], [[]]) == (own.errors, own.tasks)
    assert (own.own, bridge.session_id) == (own.done.id, own.done.session_id)
    assert f"finished: {command(go)}" == own.text
    assert "task-notification" == own.result["origin"]["kind"]
    (ended,) = [m for m in own.of("system") if m["subtype"] == "task_notification"]
    assert "completed" == ended["status"]
    after = bridge.turn("next")
    assert ("echo: next", [], "") == (after.text, after.tasks, after.own)


def test_tool_is_used_in_a_turn_of_its_own(bridge, go) -> None:
    """As in any other turn."""
    bridge.turn(waiting_for(go, "BASH: echo by myself"))
    go.touch()
    own = bridge.finish()
    assert "done: by myself" == own.text
    (answer,) = own.of("user")
    assert "tool_result" == answer["message"]["content"][0]["type"]


def test_turn_of_its_own_can_be_interrupted(bridge, go) -> None:
    """The next turn works."""
    bridge.turn(waiting_for(go, "SLOW: 60 60"))
    go.touch()
    while bridge.message("system")["subtype"] != "init":
        pass
    begun = time.monotonic()
    bridge.interrupt()
    own = bridge.finish()
    assert ("error_during_execution", []) == (own.result["subtype"], own.errors)
    assert time.monotonic() - begun < 4
    assert "echo: next" == bridge.turn("next").text


@pytest.mark.parametrize("wait", [False, True])
def test_query_that_yields_meets_the_end_of_a_command(bridge, go, wait) -> None:
    """In that very instant it is taken or refused. Either way there are two turns, each whole."""
    bridge.turn(waiting_for(go, "BASH: echo mine"))
    go.touch()
    if wait:
        assert BackgroundTasks([]) == bridge.receive()
    bridge.ask("yours", yields=True)
    first = bridge.finish()
    if first.taken is False:
        bridge.ask("yours")
    second = bridge.finish()
    own, asked = (first, second) if first.own else (second, first)
    assert ("done: mine", "echo: yours") == (own.text, asked.text)
    assert (True, False) == (bool(own.own), bool(asked.own))


def test_query_that_yields_is_taken_when_nothing_else_begins(bridge) -> None:
    """It says so before its first message."""
    turn = bridge.turn("hello", yields=True)
    assert (True, "echo: hello") == (turn.taken, turn.text)
