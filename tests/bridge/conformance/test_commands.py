"""Commands that the bridge can't understand or serve, and shell commands."""

import pytest

from ash.protocol import Exec, ExecResult, Failed, TurnDone

ENDLESS = b'{"cmd":"query","id":"q","sessionId":"s","prompt":'


@pytest.mark.parametrize(
    ("line", "id", "words"),
    [
        (b'{"cmd":"dance","id":"7"}', "7", "dance"),
        (b'{"id":"7"}', "7", "cmd"),
        (b'{"cmd":"exec","id":"7","command":5}', "7", "$.command"),
        (b'{"cmd":"exec","id":"7"}', "7", "command"),
        (b'{"cmd":"open","id":"7"}', "7", "sessionId"),
        (b'{"cmd":"exec","id":7,"command":"x"}', "", "$.id"),
        (b'{"cmd":"exec","id":"7","command":"x"', "", "truncated"),
        (b'"exec"', "", "object"),
        (b"\xff\xfe", "", ""),
        (b"[" * 100_000, "", ""),
    ],
)
def test_unreadable_command_is_an_error(bridge, line, id, words) -> None:  # noqa: A002
    """The bridge answers a command it can't read with an error for its id, and goes on."""
    bridge.send_bytes(line + b"\n")
    answer = bridge.receive()
    assert isinstance(answer, Failed)
    assert id == answer.id
    assert words in answer.error
    assert "echo: fine" == bridge.turn("fine").text


@pytest.mark.parametrize(
    "line",
    [
        b'{"cmd":"query","id":"7","sessionId":"s","prompt":"x","maxTurns":"many"}',
        b'{"cmd":"query","id":"7","sessionId":"s"}',
        b'{"cmd":"query","id":"7","sessionId":"s","prompt":5}',
        b'{"cmd":"query","id":"7","sessionId":"s","prompt":{"type":"text"}}',
    ],
)
def test_malformed_query_is_an_error_and_done(bridge, line) -> None:
    """A query that can't begin still ends with `done`, so that nobody waits for it."""
    bridge.send_bytes(line + b"\n")
    answers = [bridge.receive(), bridge.receive()]
    assert [Failed, TurnDone] == [type(answer) for answer in answers]
    assert ["7", "7"] == [answer.id for answer in answers]


def test_unknown_fields_are_ignored(bridge) -> None:
    """The bridge accepts fields that only a newer daemon knows."""
    bridge.send_bytes(b'{"cmd":"exec","id":"n","command":"echo new","colour":"red"}\n')
    assert "new\n" == bridge.receive().stdout


def test_command_may_arrive_in_pieces(bridge) -> None:
    """A command is understood however the stream is cut."""
    for byte in b'{"cmd":"exec","id":"p","command":"echo \xc3\xa4"}\n':
        bridge.send_bytes(bytes([byte]))
    assert "ä\n" == bridge.receive().stdout


def test_exec_answers_without_an_engine(start) -> None:
    """A shell command runs although no conversation is open."""
    with start() as bridge:
        bridge.send(Exec(command="pwd; echo err >&2; exit 3", id="e"))
        answer = bridge.receive()
    assert isinstance(answer, ExecResult)
    assert ("e", 3, "err\n") == (answer.id, answer.exit_code, answer.stderr)
    assert answer.stdout.endswith("/workspace\n")


def test_too_many_queries_are_refused(bridge) -> None:
    """A query beyond the queue's limit is an error, and the queued ones are still served."""
    bridge.ask("SLOW: 2 1")
    ids = [bridge.ask(f"number {number}") for number in range(17)]
    turns = [bridge.finish() for _ in range(18)]
    refused = [turn.done.id for turn in turns if turn.errors]
    assert ids[-len(refused) :] == refused
    assert len(refused) in {1, 2}
