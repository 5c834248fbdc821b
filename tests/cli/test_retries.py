"""What `ash session send` and `watch` print while the model endpoint fails."""

import io
import json

import pytest

from ash.cli.turn import TextPrinter
from ash.client import Event

DONE = ("done", {"reason": "completed"})
RETRY = {"attempt": 1, "of": 10, "status": 529, "retryInMs": 600, "error": "It is overloaded"}
CUT = ("retry", {**RETRY, "discard": True})


def delta(text):
    return ("text_delta", {"delta": text})


def whole(text, **more):
    content = [{"type": "text", "text": text}]
    return ("message", {"type": "assistant", "message": {"content": content}, **more})


@pytest.mark.parametrize(
    ("retry", "line"),
    [
        (RETRY, "… It is overloaded; try 2 of 11 in 0.6 s\n"),
        ({**RETRY, "of": None, "retryInMs": None}, "… It is overloaded\n"),
    ],
)
def test_retry_is_a_line_on_stderr(client_ash, server, retry, line):
    """What is wrong, which try comes, and when; or that a call only waits."""
    server.streams("s1", ("retry", retry), delta("yes"), DONE)
    result = client_ash("session", "send", "s1", "hi")
    assert (0, "yes\n", line) == (result.exit_code, result.stdout, result.stderr)


def test_error_is_printed_once_and_not_as_an_answer(client_ash, server):
    """The CLI's text for it is in a message, which is not printed."""
    failed = {"type": "result", "is_error": True, "result": "Invalid API key"}
    server.streams(
        "s1",
        whole("Invalid API key", error="authentication_failed"),
        ("message", failed),
        ("error", {"error": "The key was refused"}),
        ("done", {"reason": "error"}),
    )
    result = client_ash("session", "send", "s1", "hi")
    assert (1, "", "error: The key was refused\n") == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [({}, "It reached maxTurns"), ({"errors": ["Reached 1 turn"]}, "Reached 1 turn")],
)
def test_limit_of_a_turn_is_told_in_words(client_ash, server, more, words):
    """Not in the CLI's name for it; what the CLI itself says is more exact."""
    failed = {"type": "result", "is_error": True, "subtype": "error_max_turns", **more}
    done = {"reason": "budget", "detail": "It reached maxTurns"}
    server.streams("s1", ("message", failed), ("done", done))
    result = client_ash("session", "send", "s1", "hi")
    assert (1, f"the turn ended early: budget ({words})\n") == (result.exit_code, result.stderr)


@pytest.mark.parametrize(
    ("again", "printed"),
    [
        ([delta("The answer "), delta("is 42.")], "The answer is 42.\n"),
        ([delta("The answer is 4")], "The answer is 4\n"),
        ([], "The answer is 42.\n"),
        ([delta("It is "), delta("42.")], "The answer is 4\nIt is 42.\n"),
        ([delta("The ")], "The answer is 4\nThe \n"),
    ],
)
def test_answer_that_begins_again_is_not_printed_twice(client_ash, server, again, printed):
    """What is in a pipe can't be taken back, so what comes again is left out of it."""
    text = "".join(data["delta"] for _, data in again) or "The answer is 42."
    half = [delta("The answer "), delta("is 4"), CUT]
    server.streams("s1", *half, *again, whole(text), delta("Next"), whole("Next"), DONE)
    result = client_ash("session", "send", "s1", "hi")
    assert f"{printed}Next\n" == result.stdout
    assert "… It is overloaded; try 2 of 11 in 0.6 s; the answer begins again\n" == result.stderr


def test_answer_that_begins_again_is_shown_whole_on_a_terminal(monkeypatch):
    """There it is read by somebody, who sees that it begins again."""
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr("sys.stdout", screen)
    frames = [delta("The answer is 4"), CUT, delta("The answer is 42."), DONE]
    assert TextPrinter().print(Event(name, json.dumps(data).encode(), 1) for name, data in frames)
    assert "The answer is 4\nThe answer is 42.\n" == screen.getvalue()
