"""The status changes of a session."""

from typing import get_args

import pytest

from ash.errors import BadRequest, Gone
from ash.lifecycle import CHANGES, Action, not_active, refusal
from ash.model import SessionStatus

STATUSES = get_args(SessionStatus)

# Every state and every action: `-` where the action is refused.
TABLE = """
            activate  fail   pause   stop     resume  wake      end
starting    active    error  -       stopped  -       -         ended
active      -         error  paused  stopped  -       -         ended
paused      -         -      -       -        active  starting  ended
stopped     -         -      -       -        -       starting  ended
error       -         -      -       -        -       starting  ended
ended       -         -      -       -        -       -         -
"""


def cells():
    actions, *rows = [line.split() for line in TABLE.strip().splitlines()]
    return [
        (status, action, target)
        for status, *targets in rows
        for action, target in zip(actions, targets, strict=True)
    ]


def test_table_is_complete():
    """Every status and every action has a cell."""
    assert {(status, action) for status in STATUSES for action in get_args(Action)} == {
        (status, action) for status, action, _ in cells()
    }


@pytest.mark.parametrize(("status", "action", "target"), cells())
def test_state_changes_as_the_table_says(status, action, target):
    """An action leads to the status in the table, or is refused."""
    change = CHANGES[action]
    assert target == (change.target if status in change.sources else "-")


def test_ended_is_for_good():
    """No action leaves `ended`, and the error says that the session has ended."""
    assert not any("ended" in change.sources for change in CHANGES.values())
    assert Gone is type(refusal("pause", "ended"))


def test_refusal_names_action_and_state():
    """The text is the one that existing clients look for."""
    error = refusal("pause", "stopped")
    assert (BadRequest, 'Cannot pause session with status "stopped"') == (type(error), error.text)


@pytest.mark.parametrize("status", STATUSES)
def test_work_on_a_session_that_is_not_active_is_a_bad_request(status):
    """The text begins as existing clients look for it, and says what to do."""
    error = not_active(status)
    assert (400, True) == (error.status, error.text.startswith(f"Session is {status}"))
    assert ("resume" in error.text) == (status in CHANGES["wake"].sources)
