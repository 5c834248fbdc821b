"""What is told of a database that fails."""

import pytest
from structlog.testing import capture_logs

from ash.errors import AshError, Unavailable
from ash.store.trouble import DAMAGED, Trouble

FULL, BUSY = Unavailable("The disk is full"), Unavailable("The database is busy")


@pytest.fixture
def trouble():
    return Trouble()


@pytest.fixture
def told():
    """The log's actions, each with its words."""
    with capture_logs() as lines:
        yield lambda: [(line["event"], str(line.get("exc_info", ""))) for line in lines]


def test_each_failure_is_told_once(trouble, told):
    """However many requests it refuses."""
    for error in (FULL, FULL, BUSY, FULL):
        trouble.met(error)
    assert [("store.failing", str(FULL)), ("store.failing", str(BUSY))] == told()


def test_end_of_it_is_told(trouble, told):
    """Once, by the first write that is done; then it may begin anew."""
    trouble.wrote()
    trouble.met(FULL)
    for _ in range(2):
        trouble.wrote()
    trouble.met(FULL)
    assert ["store.failing", "store.works_again", "store.failing"] == [name for name, _ in told()]


def test_damage_does_not_end(trouble, told):
    """That something could be written says nothing of what is damaged."""
    trouble.met(AshError(DAMAGED))
    trouble.wrote()
    trouble.met(AshError(DAMAGED))
    assert [("store.failing", DAMAGED)] == told()
