"""The answer of an agent, as a script shows it while it comes."""

import json

import pytest

from ash.client import AnswerText, Event

HALF = [("text_delta", {"delta": "The answer "}), ("text_delta", {"delta": "is 4"})]
DISCARD = ("retry", {"attempt": 1, "error": "It broke off", "discard": True})


def whole(text, **more):
    content = [{"type": "text", "text": text}]
    return ("message", {"type": "assistant", "message": {"content": content}, **more})


def after(*events):
    answer = AnswerText()
    for name, data in events:
        answer.add(Event(name, json.dumps(data).encode()))
    return answer


def test_deltas_are_the_text_until_the_message_comes():
    """The message says the same again, and is not added to its deltas."""
    assert "The answer is 4" == str(after(*HALF))
    assert ["The answer is 42."] == after(*HALF, whole("The answer is 42.")).texts


def test_messages_are_texts_of_their_own():
    """With and without deltas."""
    answer = after(whole("one"), ("text_delta", {"delta": "two"}), whole("two"), *HALF)
    assert ["one", "two", "The answer is 4"] == answer.texts
    assert "one\ntwo\nThe answer is 4" == str(answer)


def test_half_an_answer_is_taken_back():
    """It comes again from its beginning; what was complete before stays."""
    assert ["one"] == after(whole("one"), *HALF, DISCARD).texts
    assert ["one", "The "] == after(
        whole("one"), *HALF, DISCARD, ("text_delta", {"delta": "The "})
    ).texts


def test_retry_without_a_discard_takes_nothing_back():
    """Most calls fail before anything was said."""
    assert "The answer is 4" == str(after(*HALF, ("retry", {"attempt": 1, "error": "x"})))
    of_subagent = (DISCARD[0], {**DISCARD[1], "parentToolUseId": "t1"})
    assert "The answer is 4" == str(after(*HALF, of_subagent))


def test_half_an_answer_with_a_gap_in_it_is_dropped():
    """The message that follows is complete."""
    assert [] == after(*HALF, ("gap", {"requested": 1, "earliest": 3, "latest": 3})).texts


@pytest.mark.parametrize(
    "event",
    [
        whole("inner", parent_tool_use_id="t1"),
        ("text_delta", {"delta": "inner", "parentToolUseId": "t1"}),
        whole("Invalid API key", error="authentication_failed"),
        ("message", {"type": "result", "result": "x"}),
        ("message", {"type": "assistant", "message": {"content": [{"type": "tool_use"}, 7]}}),
        ("thinking_delta", {"delta": "hm"}),
        ("done", {}),
    ],
)
def test_what_the_agent_did_not_say_is_left_out(event):
    """Subagents, errors, results and thoughts are no part of the answer."""
    assert [] == after(event).texts


def test_change_is_told():
    """A script draws anew only then."""
    answer = AnswerText()
    events = [HALF[0], whole("The answer "), ("done", {}), HALF[1], DISCARD, DISCARD]
    told = [answer.add(Event(name, json.dumps(data).encode())) for name, data in events]
    assert [True, False, False, True, True, False] == told
