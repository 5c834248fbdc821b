"""Who is measured when the disk fills, and who is ended."""

import os
import sys
import traceback
from contextlib import contextmanager

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from ash.limits import DiskSweep, SpaceAlarm, space_alarm
from ash.limits.amounts import MB
from ash.limits.space_alarm import SLACK
from tests.limits.conftest import SMALL

OVER = "The agent went over its disk limit of 1 MB"
BUSY = 10**9


class Space:
    """A disk that says what the test wants."""

    def __init__(self):
        self.now = 100 * MB
        self.low = False

    def taken(self):
        return self.now

    def is_low(self):
        return self.low

    def free_mb(self):
        return 5

    def floor_mb(self):
        return 10


class Watch:
    """One watched sandbox; `cpu` is the CPU time that its group says it has used."""

    def __init__(self, folder, limit_mb=1):
        self.folder = folder
        self.cpu = 0
        self.said = []
        self.frozen_sizes = []
        self._is_frozen = False
        self.limit_mb = limit_mb
        folder.mkdir()

    def write(self, megabytes):
        (self.folder / f"file-{len(list(self.folder.iterdir()))}").write_bytes(
            bytes(megabytes * MB)
        )

    @contextmanager
    def frozen(self):
        self._is_frozen = True
        yield
        self._is_frozen = False

    def processes(self):
        self.frozen_sizes.append(self._is_frozen)
        return [os.getpid()]


@pytest.fixture
def space():
    return Space()


@pytest.fixture
def sweep():
    return DiskSweep()


@pytest.fixture
def alarm(space, sweep):
    return SpaceAlarm(space, sweep)


@pytest.fixture
def watch(tmp_path, sweep, alarm):
    """`watch(name, limit_mb)` is watched until the test ends; the alarm has looked once."""
    held = []

    def begin(name="one", limit_mb=1):
        one = Watch(tmp_path / name, limit_mb)
        context = sweep.watch(
            [one.folder],
            limit_mb,
            one.said.append,
            one.processes,
            lambda: one.cpu,
            frozen=one.frozen,
        )
        context.__enter__()
        held.append(context)
        look(alarm)
        return one

    yield begin
    for context in held:
        context.__exit__(None, None, None)


def look(alarm):
    return alarm.look(lambda call: call())


def filled(space, watch, megabytes):
    """Somebody writes so much, and this sandbox has used the CPU time for it."""
    space.now += megabytes * MB
    watch.cpu += BUSY


def test_over_the_limit_is_told_at_once(alarm, space, watch):
    """A sandbox that is over when the disk fills is told so in the same look, and frozen for it."""
    one = watch()
    one.write(2)
    filled(space, one, 18)
    assert 18 * MB == look(alarm)
    assert ([OVER], {True}) == (one.said, set(one.frozen_sizes))


def test_sandbox_with_room_is_not_measured(alarm, space, watch):
    """As long as less was taken than it had left, it can't be over."""
    one = watch(limit_mb=100)
    filled(space, one, 100)
    look(alarm)
    assert 0 == alarm.statistics().looks
    filled(space, one, 17)
    look(alarm)
    assert (1, []) == (alarm.statistics().looks, one.said)


def test_sandbox_that_used_no_cpu_is_not_measured(alarm, space, watch):
    """It can't have written what was taken."""
    idle, busy = watch("idle"), watch("busy")
    busy.write(2)
    filled(space, busy, 20)
    look(alarm)
    assert (1, [], [OVER]) == (alarm.statistics().looks, idle.said, busy.said)


def test_what_others_write_is_no_reason(alarm, space, watch):
    """A database that grows by less than the slack has nobody measured."""
    one = watch(limit_mb=1)
    filled(space, one, SLACK // MB)
    look(alarm)
    assert 0 == alarm.statistics().looks


def test_what_is_given_back_hides_nothing(alarm, space, watch):
    """A sandbox can't hide behind another one that deletes files between two looks."""
    one = watch()
    for _ in range(3):
        filled(space, one, 10)
        look(alarm)
        space.now -= 10 * MB
        look(alarm)
    assert 1 == alarm.statistics().looks


def test_measured_sandbox_begins_anew(alarm, space, watch):
    """It is measured again when as much was taken as it had left then."""
    one = watch(limit_mb=40)
    one.write(1)
    filled(space, one, 60)
    look(alarm)
    filled(space, one, 50)
    look(alarm)
    assert 1 == alarm.statistics().looks
    filled(space, one, 10)
    look(alarm)
    assert (2, []) == (alarm.statistics().looks, one.said)


def test_sandbox_that_writes_on_is_ended_unmeasured(alarm, space, watch, monkeypatch):
    """A call of the kernel goes on while its process is frozen: it must not outrun the look."""
    one = watch()
    written = iter(range(0, 1000 * MB, 40 * MB))
    monkeypatch.setattr(space_alarm, "_written", lambda _: next(written))
    monkeypatch.setattr("ash.limits.disk_limit.SLICE", 1)
    for name in "abcd":
        (one.folder / name).touch()
    filled(space, one, 18)
    taken = iter(range(space.now, space.now * 100, 40 * MB))
    space.taken = lambda: next(taken)
    look(alarm)
    words = "The agent filled the disk faster than it could be measured, with not much left of its"
    assert [f"{words} disk limit of 1 MB"] == one.said


def test_what_a_process_has_written_is_read_from_the_kernel(watch, sweep):
    """The count of this very process grows with what it writes."""
    one = watch()
    [watched] = sweep.watched
    before = space_alarm._written(watched)
    one.write(2)
    assert space_alarm._written(watched) - before >= 2 * MB


def test_largest_writer_is_ended_when_the_disk_is_low(alarm, space, watch):
    """The one whose files have grown the most, in words that say so."""
    small, large = watch("small", 1000), watch("large", 1000)
    small.write(17)
    large.write(20)
    filled(space, small, 17)
    filled(space, large, 20)
    space.low = True
    look(alarm)
    words = "The server's disk has less than 10 MB free, and of all agents this one wrote the most"
    assert ([], [f"{words}: 20 MB"]) == (small.said, large.said)


def test_nobody_is_ended_for_what_others_wrote(alarm, space, watch):
    """If no sandbox has written much, the disk is full for another reason."""
    one = watch("one", 1000)
    one.write(1)
    filled(space, one, 17)
    space.low = True
    look(alarm)
    assert [] == one.said


async def test_thread_lives_only_while_there_are_sandboxes(alarm, space, sweep, tmp_path, nursery):
    """It begins with the first sandbox, tells in the loop, and ends with the last one."""
    nursery.start_soon(alarm.run)
    await wait_all_tasks_blocked()
    assert not watching()
    said = trio.Event()
    (tmp_path / "file").write_bytes(bytes(2 * MB))
    with sweep.watch([tmp_path], 1, lambda _: said.set()):
        with trio.fail_after(10):
            while not said.is_set():
                space.now += 20 * MB
                await trio.lowlevel.checkpoint()
        assert watching()
    with trio.fail_after(10):
        while watching():
            await trio.lowlevel.checkpoint()


def watching():
    """Whether a thread runs the alarm now."""
    names = [
        frame.f_code.co_qualname
        for top in sys._current_frames().values()
        for frame, _ in traceback.walk_stack(top)
    ]
    return "SpaceAlarm._watch" in names


async def test_frozen_group_stands_still(groups, start):
    """A process in the context makes no step, and goes on after it."""
    async with groups.open(SMALL) as group:
        await start(group, "echo begun; while :; do :; done")
        with group.frozen():
            events = next(folder for folder in group.folders if (folder / "cgroup.freeze").exists())
            assert "1" == (events / "cgroup.freeze").read_text().strip()
        assert "0" == (events / "cgroup.freeze").read_text().strip()


def test_sandbox_that_holds_too_much_open_does_not_end_the_alarm(alarm, space, watch, monkeypatch):
    """The sweep tells it in its next pass."""
    one = watch()
    monkeypatch.setattr("ash.limits.disk_usage.MAX_HELD", 2)
    filled(space, one, 18)
    assert 18 * MB == look(alarm)
    assert (1, []) == (alarm.statistics().looks, one.said)
