"""The messages of a turn, and their order."""

import time
from pathlib import Path

from ash import script
from ash.protocol import Exec, ExecResult
from tests.support.waiting import block_until


def test_text_is_echoed_and_the_turn_ends_with_one_done(bridge) -> None:
    """A turn begins with `init` and ends with a result, followed by one `done`."""
    query = bridge.ask("hello there")
    turn = bridge.finish()
    assert [] == turn.errors
    assert ("system", "init") == (turn.messages[0]["type"], turn.messages[0]["subtype"])
    assert "echo: hello there" == turn.text
    assert (bridge.session_id, query) == (turn.done.session_id, turn.done.id)


def test_deltas_come_before_their_message(bridge) -> None:
    """Deltas come before the whole message, and add up to its text."""
    turn = bridge.turn("hello again, you", partial=True)
    kinds = [message["type"] for message in turn.messages]
    whole = turn.of("assistant")[0]["message"]["content"][0]["text"]
    assert whole == "".join(turn.deltas) == "echo: hello again, you"
    assert kinds.index("stream_event") < kinds.index("assistant") < kinds.index("result")
    assert len(turn.deltas) > 1


def test_deltas_are_left_out_unless_asked_for(bridge) -> None:
    """Without includePartialMessages only whole messages come."""
    turn = bridge.turn("BURST: 20")
    assert [] == turn.of("stream_event")
    assert "".join(f"tick{number} " for number in range(20)) == turn.text


def test_messages_carry_the_session(bridge) -> None:
    """Every message has the id of its conversation."""
    turn = bridge.turn("hello", partial=True)
    assert {bridge.session_id} == {message["session_id"] for message in turn.messages}


def test_tool_call_acts_in_the_workspace(start, tmp_path: Path) -> None:
    """A shell command runs in the bridge's folder, and its output comes back."""
    with start() as bridge:
        bridge.open()
        turn = bridge.turn("BASH: echo made > file.txt; cat file.txt")
    use, end = (message["message"]["content"][0] for message in turn.of("assistant"))
    result = turn.of("user")[0]["message"]["content"][0]
    assert "made\n" == (tmp_path / "workspace" / "file.txt").read_text()
    assert ("tool_use", "Bash") == (use["type"], use["name"])
    assert ("tool_result", use["id"]) == (result["type"], result["tool_use_id"])
    assert "done: made" == end["text"] == turn.text


def test_thinking_comes_before_the_text(bridge) -> None:
    """Thinking is a block of its own, streamed and whole, before the text."""
    turn = bridge.turn("THINK: deep", partial=True)
    blocks = [block for message in turn.of("assistant") for block in message["message"]["content"]]
    assert ["thinking", "text"] == [block["type"] for block in blocks]
    assert "deep" == blocks[0]["thinking"]
    assert "thought: deep" == turn.text


def test_failing_model_is_an_error_result_and_the_next_turn_works(bridge) -> None:
    """An error of the model's endpoint ends the turn but not the conversation."""
    failed = bridge.turn("FAIL: 400")
    assert [] == failed.errors
    assert failed.result["is_error"] is True
    assert "echo: better" == bridge.turn("better").text


def test_model_can_be_chosen_for_one_query(bridge) -> None:
    """A query's model is for that query; the next one has the session's model again."""
    usual = _model(bridge.turn("who?"))
    assert "claude-sonnet-4-5" == _model(bridge.turn("who?", model="claude-sonnet-4-5"))
    assert usual == _model(bridge.turn("who?"))


def test_two_megabytes_of_every_kind_of_unicode_come_and_go(bridge) -> None:
    """A big message is unchanged in either direction."""
    text = script.big(2048).text
    assert text == bridge.turn("BIG: 2048").text
    assert f"echo: {text}" == bridge.turn(text).text


def test_prompt_may_be_a_list_of_blocks(bridge) -> None:
    """Content blocks reach the model unchanged."""
    assert "echo: in a block" == bridge.turn([{"type": "text", "text": "in a block"}]).text


def test_second_query_waits_for_the_first(bridge) -> None:
    """Queries sent during a turn are answered one by one, in order."""
    ids = [bridge.ask("SLOW: 2 0.2"), bridge.ask("second"), bridge.ask("third")]
    turns = [bridge.finish() for _ in ids]
    assert ["tick0 tick1 ", "echo: second", "echo: third"] == [turn.text for turn in turns]
    assert ids == [turn.done.id for turn in turns]


def test_exec_runs_during_a_turn(bridge) -> None:
    """A shell command and a turn do not wait for each other."""
    bridge.ask("SLOW: 4 1")
    begun = time.monotonic()
    bridge.message("system")
    bridge.send(Exec(command="echo beside", id="x"))
    while not isinstance(answer := bridge.receive(), ExecResult):
        pass
    assert ("x", "beside\n") == (answer.id, answer.stdout)
    assert time.monotonic() - begun < 1
    assert "tick3 " in bridge.finish().text


def test_slow_reader_gets_everything(bridge) -> None:
    """If nobody reads, the engine waits, and no message is lost or reordered."""
    bridge.ask("BURST: 9000", partial=True)
    block_until(lambda: bridge.unread() > 50_000)
    turn = bridge.finish()
    assert [f"tick{number} " for number in range(9000)] == turn.deltas


def _model(turn) -> str:
    return turn.of("assistant")[0]["message"]["model"]
