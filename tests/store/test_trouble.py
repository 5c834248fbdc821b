"""What is told of a database that fails."""

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
    """The log's actions, each with its words."""
    with capture_logs() as lines:
        yield lambda: [(line["event"], str(line.get("exc_info", ""))) for line in lines]


def test_each_failure_is_told_once(failures, told):
    """However many requests it refuses."""
    for error in (FULL, FULL, BUSY, FULL):
        failures.met(error)
    assert [("store.failing", str(FULL)), ("store.failing", str(BUSY))] == told()


def test_end_of_it_is_told(failures, told):
    """Once, by the first write that is done; then it may begin anew."""
    failures.wrote()
    failures.met(FULL)
    for _ in range(2):
        failures.wrote()
    failures.met(FULL)
    assert ["store.failing", "store.works_again", "store.failing"] == [name for name, _ in told()]


def test_damage_does_not_end(failures, told):
    """That something could be written says nothing of what is damaged."""
    failures.met(AshError(DAMAGED))
    failures.wrote()
    failures.met(AshError(DAMAGED))
    assert [("store.failing", DAMAGED)] == told()
