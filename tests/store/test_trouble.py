"""What is logged of a database that fails."""

import pytest
from structlog.testing import capture_logs

from ash.errors import AshError, Unavailable
from ash.store.driver import DAMAGED, FailureLog

FULL, BUSY = Unavailable("The disk is full"), Unavailable("The database is busy")


@pytest.fixture
def failures():
    return FailureLog()


@pytest.fixture
def told():
    """The actions that were logged, each with its text."""
    with capture_logs() as lines:
        yield lambda: [(line["event"], str(line.get("exc_info", ""))) for line in lines]


def test_each_failure_is_logged_once(failures, told):
    """A failure is logged once, however many requests it refuses."""
    for error in (FULL, FULL, BUSY, FULL):
        failures.met(error)
    assert [("store.failing", str(FULL)), ("store.failing", str(BUSY))] == told()


def test_end_of_failures_is_logged(failures, told):
    """The first write that succeeds logs the end once."""
    failures.wrote()
    failures.met(FULL)
    for _ in range(2):
        failures.wrote()
    failures.met(FULL)
    assert ["store.failing", "store.works_again", "store.failing"] == [name for name, _ in told()]


def test_damage_does_not_end(failures, told):
    """A write that succeeds does not end a report of damage."""
    failures.met(AshError(DAMAGED))
    failures.wrote()
    failures.met(AshError(DAMAGED))
    assert [("store.failing", DAMAGED)] == told()
