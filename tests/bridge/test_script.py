"""The commands that the scripted engine and the stub model understand."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash import script
from ash.script import Crash, Fail, Say, Use

_COMMANDS = ("BASH:", "WRITE:", "SLOW:", "BURST:", "BIG:", "THINK:", "FAIL:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BASH: ls -l", Use("Bash", {"command": "ls -l"})),
        ("BASH:ls\npwd\n", Use("Bash", {"command": "ls\npwd\n"})),
        ("WRITE: a/b.txt", Use("Write", {"file_path": "a/b.txt", "content": ""})),
        ("WRITE: a.txt one\ntwo ", Use("Write", {"file_path": "a.txt", "content": "one\ntwo "})),
        ("WRITE: a.txt\none", Use("Write", {"file_path": "a.txt", "content": "one"})),
        ("SLOW: 2 3", Say(("tick0 ", "tick1 "), pause=1.5)),
        ("SLOW: 2 0.5", Say(("tick0 ", "tick1 "), pause=0.25)),
        ("SLOW: 5", Say(("tick0 ", "tick1 ", "tick2 ", "tick3 ", "tick4 "), pause=0.2)),
        ("BURST: 2\n", Say(("tick0 ", "tick1 "))),
        ("THINK: hard", Say(("thought: ", "hard"), thinking="hard")),
        ("FAIL: 529", Fail(529)),
        (" CRASH\n", Crash()),
    ],
)
def test_command_is_understood(text, expected) -> None:
    """Each command gives the documented answer."""
    assert expected == script.answer([text])


@pytest.mark.parametrize(
    "text",
    [
        *("BASH:", "BASH: ", "WRITE: ", "THINK:", "bash: ls", " BASH: ls", "please BASH: ls"),
        *("SLOW: 0", "SLOW: x", "SLOW: 3 x", "SLOW: -1", "SLOW: 3 1 2", "SLOW: 1000000"),
        *("BURST: 0", "BURST: 1.5", "BURST: \u0661", "BIG: 0", "BIG: 123456", "BIG: "),
        *("FAIL: 200", "FAIL: 399", "FAIL: 600", "FAIL: 50", "CRASH now", "RECALL it", ""),
    ],
)
def test_text_without_a_command_is_echoed(text) -> None:
    """A command in the wrong form is echoed like any text."""
    assert f"echo: {text}" == script.answer([text]).text


def test_documentation_has_every_command() -> None:
    """The table in docs/testing.md has every command."""
    text = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
    missing = [name for name in (*_COMMANDS, "CRASH", "RECALL") if f"| `{name}" not in text]
    assert [] == missing


@given(st.text().filter(lambda text: not text.startswith(_COMMANDS)))
def test_echo_changes_nothing(text) -> None:
    """The pieces of an echo join to the original text."""
    if text.strip() in {"CRASH", "RECALL"}:
        return
    answer = script.answer(["earlier", text])
    assert f"echo: {text}" == answer.text
    assert all(answer.pieces)


@given(st.sampled_from(_COMMANDS), st.text())
def test_no_text_is_an_error(command, rest) -> None:
    """Every text has an answer of bounded size."""
    answer = script.answer([command + rest])
    assert isinstance(answer, Say | Use | Fail)


@given(st.lists(st.text()))
def test_recall_lists_all_texts(texts) -> None:
    """RECALL answers with a JSON list of all texts so far, including itself."""
    said = [*texts, "RECALL"]
    assert said == msgspec.json.decode(script.answer(said).text)


def test_conversation_without_a_text_is_answered() -> None:
    """A prompt of images alone is no error."""
    assert "echo: " == script.answer([]).text


@pytest.mark.parametrize("kib", [1, 7, 2048])
def test_big_has_the_size_that_was_asked(kib) -> None:
    """BIG gives exactly that many KiB of UTF-8, the same each time."""
    answer = script.answer([f"BIG: {kib}"])
    assert kib * 1024 == len(answer.text.encode())
    assert script.big(kib) == answer


def test_big_comes_in_deltas_of_a_sensible_size() -> None:
    """BIG gives deltas of about 16 KiB."""
    sizes = [len(piece.encode()) for piece in script.big(2048).pieces]
    assert max(sizes) <= 16 * 1024
    assert len(sizes) <= 150


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_big_has_characters_of_every_width(width) -> None:
    """The text has characters of one to four bytes, so that a wrong cut shows."""
    assert any(len(character.encode()) == width for character in script.big(1).text)


def test_big_has_the_characters_that_break_readers() -> None:
    """The text has controls, quotes, odd line ends, marks, joiners and non-characters."""
    assert set() == set('\x00\x1f"\\\r\x85\u2028\u2029\ufeff\u0301\u200d\uffff') - set(
        script.big(1).text
    )


@pytest.mark.parametrize(
    ("is_error", "expected"), [(False, "done: out"), (None, "done: out"), (True, "failed: out")]
)
def test_text_after_a_tool_has_its_output(is_error, expected) -> None:
    """The text after a tool contains the tool's output."""
    assert expected == script.after_tool("out", is_error=is_error).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<system-reminder>\nAs you answer …", False),
        ("[Request interrupted by user]", False),
        ("[Request interrupted by user for tool use]", False),
        ("hello <system-reminder>", True),
    ],
)
def test_texts_of_the_cli_are_not_the_users(text, expected) -> None:
    """Texts that the CLI adds by itself are not taken for the user's."""
    assert expected is script.said_by_user(text)


def test_tokens_are_four_characters_each() -> None:
    """Each text is rounded up on its own."""
    assert 0 == script.tokens()
    assert 3 == script.tokens("", "abcd", "abcde")
