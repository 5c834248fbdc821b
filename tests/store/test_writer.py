"""Group commit, with a commit function that the test controls."""

from threading import Event

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.store.writer import Writer


class Slow:
    """A commit that waits until it is allowed; records which units came together."""

    def __init__(self):
        self.groups = []
        self.let = Event()
        self.closed = False

    def commit(self, units):
        self.groups.append(list(units))
        assert self.let.wait(5)
        return [ValueError(unit) if unit == "bad" else unit for unit in units]

    def close(self):
        self.closed = True


@pytest.fixture
def slow():
    return Slow()


@pytest.fixture
async def writer(slow, nursery):
    writer = Writer(slow.commit, slow.close)
    nursery.start_soon(writer.run)
    await wait_all_tasks_blocked()
    yield writer
    slow.let.set()
    nursery.cancel_scope.cancel()


async def started(nursery, write, *units):
    """Starts writes one after the other; the first is being committed, the rest wait."""
    for unit in units:
        nursery.start_soon(write, unit)
        await wait_all_tasks_blocked()


async def test_units_gather(slow, writer):
    """Units that arrive during a commit are committed together by the next, in order."""
    async with trio.open_nursery() as nursery:
        await started(nursery, writer.write, "a")
        await trio.to_thread.run_sync(until, lambda: slow.groups)
        await started(nursery, writer.write, "b", "c", "d")
        assert 3 == writer.statistics().waiting
        slow.let.set()
    assert [["a"], ["b", "c", "d"]] == slow.groups
    assert 0 == writer.statistics().waiting


def until(condition):
    """Waits in a thread for a condition, because another thread sets no event in the loop."""
    waiting = Event()
    while not condition():
        waiting.wait(0.001)


async def test_unit_that_fails_in_a_group(slow, writer):
    """A failing unit of a group does not affect the others."""
    heard = {}

    async def write(unit):
        try:
            heard[unit] = await writer.write(unit)
        except ValueError as error:
            heard[unit] = str(error)

    slow.let.set()
    async with trio.open_nursery() as nursery:
        for unit in ("a", "bad", "c"):
            nursery.start_soon(write, unit)
    assert {"a": "a", "bad": "bad", "c": "c"} == heard


async def test_commit_that_breaks(nursery):
    """If the commit function raises, all its callers get the error; the next one works."""

    def commit(units):
        if units == ["bad"]:
            raise RuntimeError("broken")
        return units

    writer = Writer(commit, lambda: None)
    nursery.start_soon(writer.run)
    with pytest.raises(RuntimeError, match="broken"):
        await writer.write("bad")
    assert "good" == await writer.write("good")
    nursery.cancel_scope.cancel()


async def test_caller_cancelled_while_it_waits(slow, writer):
    """A caller that is cancelled does not undo its own write or others'."""
    async with trio.open_nursery() as nursery:
        await started(nursery, writer.write, "a")
        async with trio.open_nursery() as leaving:
            await started(leaving, writer.write, "b")
            leaving.cancel_scope.cancel()
        slow.let.set()
        assert "c" == await writer.write("c")
    assert ["a", "b", "c"] == [unit for group in slow.groups for unit in group]


async def test_writer_cancelled(slow):
    """A cancelled writer commits what it has accepted, and then closes."""
    writer = Writer(slow.commit, slow.close)
    async with trio.open_nursery() as callers:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await started(callers, writer.write, "a", "b")
            nursery.cancel_scope.cancel()
            slow.let.set()
        assert slow.closed
    assert ["a", "b"] == [unit for group in slow.groups for unit in group]


async def test_written_before_the_writer_runs(slow, nursery):
    """A write before the writer's start waits for it."""
    slow.let.set()
    writer = Writer(slow.commit, slow.close)
    async with trio.open_nursery() as callers:
        await started(callers, writer.write, "early")
        assert [] == slow.groups
        nursery.start_soon(writer.run)
    assert [["early"]] == slow.groups
    nursery.cancel_scope.cancel()
