"""How the bridge treats every behaviour of a CLI, tried with both SDKs and a fake CLI."""

import hashlib
import json
import shlex
import sys
import time
from pathlib import Path

import pytest

import tests
from ash import script
from ash.protocol import EngineExited
from tests.support.bridge import Bridge, processes_under, start_bridge

_FAKE = Path(tests.__path__[0], "support", "fake_cli.py")


@pytest.fixture(scope="module")
def executable(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("fake") / "claude"
    path.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -S {_FAKE}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(scope="module")
def bridge(engine, executable, tmp_path_factory):
    folder = tmp_path_factory.mktemp(engine)
    env = {"CLAUDE_CODE_EXECUTABLE": executable}
    with start_bridge(engine, folder, "http://127.0.0.1:9", **env) as bridge:
        yield bridge.open()


def _do(bridge: Bridge, *actions):
    return bridge.turn(json.dumps(actions))


def _pid(turn) -> int:
    return turn.of("system")[0]["pid"]


def test_unknown_messages_pass_through(bridge) -> None:
    """A message of an unknown kind arrives unchanged."""
    lines = ['{"type": "new",  "a":[1, {"b":null}]}', '{"no":"type"}', '{"type":{"odd":1}}']
    turn = _do(bridge, *(["write", line] for line in lines))
    assert [line.encode() for line in lines] == turn.raw[1:-1]


def test_half_a_character_passes_through(bridge) -> None:
    """Half a surrogate pair, which JavaScript writes when it cuts a text, is passed on."""
    line = r'{"type":"new","text":"cut \ud83d here","\udc00":"\ud83d\ude00"}'
    assert line.encode() == _do(bridge, ["write", line]).raw[1]


def test_broken_line_is_an_error_of_its_turn(bridge) -> None:
    """A broken message fails its turn, whose other messages come, but not the next turn."""
    broken = _do(bridge, ["write", '{"type":"assis'], ["write", {"type": "after"}])
    assert ["system", "after", "result"] == [message["type"] for message in broken.messages]
    assert 1 == len(broken.errors)
    assert '{"type":"assis' in broken.errors[0]
    fine = _do(bridge)
    assert ([], _pid(broken)) == (fine.errors, _pid(fine))


def test_plain_text_on_stdout_goes_to_the_log(bridge) -> None:
    """Plain text on stdout, which some builds print, goes to the log."""
    assert [] == _do(bridge, ["write", "[debug] good morning"]).errors
    assert "[debug] good morning" in bridge.log


def test_stderr_goes_to_the_log(bridge) -> None:
    """Each line of stderr is logged while the CLI runs."""
    _do(bridge, ["say", "a warning"], ["sleep", 0.1])
    assert "a warning\n" in bridge.log


def test_line_of_32_mib_arrives(bridge) -> None:
    """A line of up to 32 MiB of content arrives: the model's API takes no more."""
    size = 32 * 1024 * 1024
    turn = _do(bridge, ["repeat", size])
    assert size + len('{"type":"big","data":""}') == len(turn.raw[1])


@pytest.mark.parametrize("kib", [2_048, 40_000])
def test_big_prompt_arrives_whole(bridge, kib) -> None:
    """A prompt of megabytes, with every kind of Unicode, reaches the CLI unchanged."""
    text = script.big(kib).text
    turn = bridge.turn(text)
    assert hashlib.sha256(text.encode()).hexdigest() == turn.of("hash")[0]["sha"]


def test_exit_in_mid_turn_is_named(bridge) -> None:
    """The error says how the CLI ended and its last lines; the next turn gets a new CLI."""
    _do(bridge, ["exit", 3])
    dead = _do(bridge, ["say", "out of"], ["say", "ideas"], ["exit", 3])
    assert ["The engine died (exit code 3). It last said: out of / ideas"] == dead.errors
    assert _pid(dead) != _pid(_do(bridge))


def test_death_between_two_turns_is_reported_and_costs_no_turn(bridge) -> None:
    """After a death between turns the next query gets a new CLI and no error."""
    _do(bridge, ["exit", 3])  # so that nothing another test has said is in the error
    dying = _do(bridge, ["write", {"type": "result"}], ["result", None], ["exit", 1])
    assert EngineExited("The engine died (exit code 1)") == bridge.receive()
    turn = _do(bridge)
    assert ([], "ok") == (turn.errors, turn.text)
    assert _pid(dying) != _pid(turn)


def test_closed_stdout_is_a_death(bridge) -> None:
    """A CLI that has closed its stdout is ended, even if it still runs."""
    _do(bridge, ["exit", 3])  # so that nothing another test has said is in the error
    turn = _do(bridge, ["hang up", None])
    assert ["The engine died (it closed its output)"] == turn.errors
    assert "ok" == _do(bridge).text
    assert not Path(f"/proc/{_pid(turn)}").exists()


def test_interrupt_that_is_ignored_ends_the_engine(bridge) -> None:
    """The turn is over within five seconds even if the CLI ignores the interrupt."""
    bridge.ask('[["sleep", 30]]')
    bridge.message("system")
    begun = time.monotonic()
    bridge.interrupt()
    turn = bridge.finish()
    assert time.monotonic() - begun < 5
    assert ["The engine did not stop when it was told to, and was ended"] == turn.errors
    assert "ok" == _do(bridge).text


def test_permission_request_is_denied(bridge) -> None:
    """A CLI that asks for a permission is refused at once, because nobody can answer."""
    ask = {"subtype": "can_use_tool", "tool_name": "Bash", "input": {}}
    request = {"type": "control_request", "request_id": "p", "request": ask}
    turn = _do(bridge, ["write", request], ["control", None])
    answer = turn.of("answer")[0]["to"]
    assert ("p", "error") == (answer["request_id"], answer["subtype"])
    assert [] == turn.of("control_request")


def _state(state: str, **more) -> list:
    return ["write", {"type": "system", "subtype": "session_state_changed", "state": state, **more}]


def test_turn_lasts_until_background_work_is_done(bridge) -> None:
    """A report of a background agent after the result belongs to the same turn."""
    hidden = {"sdk_host_only": True}
    turn = _do(
        bridge,
        _state("running", **hidden),
        ["write", {"type": "result", "result": "first"}],
        ["sleep", 0.2],
        ["write", {"type": "assistant"}],
        ["write", {"type": "result", "result": "second"}],
        ["result", None],
        _state("idle", **hidden),
    )
    assert ["system", "result", "assistant", "result"] == [m["type"] for m in turn.messages]
    assert "second" == turn.text


def test_lines_between_two_turns_open_the_next(bridge) -> None:
    """Messages written between two turns come at the beginning of the next."""
    late = ["write", {"type": "late"}]
    _do(bridge, ["write", {"type": "result"}], ["result", None], ["sleep", 0.1], late)
    time.sleep(0.3)
    turn = _do(bridge)
    assert ["late", "system", "result"] == [message["type"] for message in turn.messages]


def test_prompt_waits_for_a_turn_of_the_clis_own(bridge) -> None:
    """A prompt is not sent while the CLI runs a turn of its own."""
    done = ["write", {"type": "result"}]
    own = [done, ["result", None], _state("idle"), _state("running"), ["sleep", 0.5], done]
    _do(bridge, _state("running"), *own, _state("idle"))
    turn = _do(bridge)
    kinds = [message.get("state", message["type"]) for message in turn.messages]
    assert ["running", "result", "idle", "system", "result"] == kinds


def test_cli_that_does_not_boot_says_why(engine, executable, tmp_path) -> None:
    """The error has the CLI's last lines, and the bridge goes on."""
    env = {"CLAUDE_CODE_EXECUTABLE": executable, "FAKE_EXIT": "4"}
    with start_bridge(engine, tmp_path, "http://127.0.0.1:9", **env) as bridge:
        for _ in range(2):
            turn = bridge.turn("hello")
            expected = "The engine died (exit code 4). It last said: the fake has nothing to say"
            assert [expected] == turn.errors
        assert [bridge.process.pid] == processes_under(tmp_path)


def test_missing_cli_is_named(engine, tmp_path) -> None:
    """The error contains the path at which the CLI was expected."""
    env = {"CLAUDE_CODE_EXECUTABLE": "/no/such/claude"}
    with start_bridge(engine, tmp_path, "http://127.0.0.1:9", **env) as bridge:
        assert "/no/such/claude" in bridge.turn("hello").errors[0]
