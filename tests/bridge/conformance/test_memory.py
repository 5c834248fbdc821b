"""What a conversation remembers, and which failures it survives."""

import json

import pytest

from tests.support.bridge import Bridge


def test_turns_remember_each_other(start) -> None:
    """A turn knows everything that the user said in earlier turns."""
    with start() as bridge:
        bridge.open()
        bridge.turn("first")
        bridge.turn("second")
        assert ["first", "second", "RECALL"] == _recalled(bridge)


def test_new_process_goes_on_with_the_conversation(start) -> None:
    """A new bridge that resumes knows the conversation of another, and keeps its id."""
    with start() as bridge:
        bridge.open()
        bridge.turn("said to the first")
        bridge.hang_up()
    with start() as other:
        other.resume(bridge.session_id)
        assert ["said to the first", "RECALL"] == _recalled(other)
        assert {bridge.session_id} == {m["session_id"] for m in other.turn("x").messages}


def test_query_without_open_begins_or_resumes(start) -> None:
    """A query without an `open` begins the conversation or continues it."""
    with start() as bridge:
        bridge.turn("unannounced")
        bridge.hang_up()
    with start() as other:
        other.session_id = bridge.session_id
        assert ["unannounced", "RECALL"] == _recalled(other)


def test_resume_of_a_conversation_that_was_never_written_begins_it(start) -> None:
    """Resuming a conversation that is not on disk is the same as opening it."""
    with start() as bridge:
        bridge.resume(bridge.session_id)
        assert ["RECALL"] == _recalled(bridge)


def test_session_id_in_use_is_refused(start) -> None:
    """Opening a conversation under an id that is already used is an error."""
    with start() as bridge:
        bridge.open()
        bridge.turn("taken")
        bridge.hang_up()
    with start() as other:
        other.session_id = bridge.session_id
        with pytest.raises(AssertionError, match="already in use"):
            other.open()


def test_changed_setting_keeps_the_conversation(start) -> None:
    """A query with other settings gets a new engine with the same memory."""
    with start() as bridge:
        bridge.open()
        bridge.turn("before")
        assert "echo: limited" == bridge.turn("limited", max_turns=3).text
        assert ["before", "limited", "RECALL"] == _recalled(bridge)


def test_crash_ends_the_turn_and_the_next_one_remembers(start) -> None:
    """A crash of the engine is an error of its turn, and the next turn still remembers."""
    with start() as bridge:
        bridge.open()
        bridge.turn("before")
        crashed = bridge.turn("CRASH")
        assert 1 == len(crashed.errors)
        assert "before" == _recalled(bridge)[0]


def _recalled(bridge: Bridge) -> list[str]:
    return json.loads(bridge.turn("RECALL").text)
