"""An engine that dies between turns is reported, and the next turn gets a new one."""

import json
import os
import shlex
import signal
import sys
from pathlib import Path

import pytest

import tests
from ash.protocol import EngineExited
from tests.support.bridge import processes_under, start_bridge

_FAKE = Path(tests.__path__[0], "support", "fake_cli.py")


@pytest.fixture
def executable(tmp_path) -> str:
    path = tmp_path / "claude"
    path.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {_FAKE}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bridge(engine, executable, tmp_path):
    with start_bridge(
        engine, tmp_path, "http://127.0.0.1:9", CLAUDE_CODE_EXECUTABLE=executable
    ) as bridge:
        yield bridge.open()


def _pid(turn) -> int:
    return turn.of("system")[0]["pid"]


def test_death_before_the_first_turn_is_reported(bridge, tmp_path) -> None:
    """The daemon learns that an engine died before its first turn."""
    (cli,) = set(processes_under(tmp_path)) - {bridge.process.pid}
    os.kill(cli, signal.SIGKILL)
    assert EngineExited("The engine died (SIGKILL)") == bridge.receive()


def test_death_between_turns_is_reported_and_mended(bridge) -> None:
    """A death between turns is reported once, and no turn fails."""
    first = bridge.turn("[]")
    os.kill(_pid(first), signal.SIGKILL)
    assert EngineExited("The engine died (SIGKILL)") == bridge.receive()
    second = bridge.turn("[]")
    assert ([], False) == (second.errors, _pid(first) == _pid(second))


def test_death_in_a_turn_is_the_error_of_the_turn(bridge) -> None:
    """A death during a turn is not reported in addition to the turn's error."""
    turn = bridge.turn(json.dumps([["exit", 3]]))
    assert ["The engine died (exit code 3)"] == turn.errors
    assert [] == bridge.turn("[]").errors


def test_engine_that_is_closed_is_not_reported_as_dead(bridge) -> None:
    """An engine that is replaced for other settings is not reported as dead."""
    first = bridge.turn("[]")
    second = bridge.turn("[]", max_turns=3)
    assert ([], False) == (second.errors, _pid(first) == _pid(second))
