import os

import pytest
import trio

from ash.limits import DiskSweep, disk_sweep
from ash.limits.amounts import MB
from ash.limits.disk_sweep import LookSchedule
from ash.workspaces.copy_program import MAX_DEPTH

OVER = "The agent went over its disk limit of 1 MB"


@pytest.fixture
def sweep(nursery):
    """A sweep that runs."""
    sweep = DiskSweep()
    nursery.start_soon(sweep.run)
    return sweep


class Ear:
    """Is called by the sweep; `await ear.heard()` returns the next text."""

    def __init__(self):
        self.say, self._said = trio.open_memory_channel(10)

    def __call__(self, text):
        self.say.send_nowait(text)

    async def heard(self):
        return await self._said.receive()

    @property
    def waiting(self):
        return self._said.statistics().current_buffer_used


def fill(folder, megabytes):
    (folder / f"large-{megabytes}").write_bytes(bytes(megabytes * MB))


async def test_over_the_limit_is_told(sweep, autojump_clock, tmp_path):
    """A sandbox that takes more than its limit is told so, with the limit."""
    ear = Ear()
    with sweep.watch([tmp_path], 1, ear) as watched:
        fill(tmp_path, 2)
        assert OVER == await ear.heard()
        assert OVER == watched.complaint
        assert watched.used > MB


async def test_over_the_limit_is_told_once(sweep, autojump_clock, tmp_path, monkeypatch):
    """The text does not come again in each pass, only after the sandbox was under the limit."""
    ear = Ear()
    looks = counted(monkeypatch)
    with sweep.watch([tmp_path], 1, ear) as watched:
        fill(tmp_path, 2)
        await ear.heard()
        await looks(3)
        assert 0 == ear.waiting
        (tmp_path / "large-2").unlink()
        await looks(2)
        assert None is watched.complaint
        fill(tmp_path, 3)
        assert OVER == await ear.heard()


async def test_under_the_limit_is_measured(sweep, autojump_clock, tmp_path, monkeypatch):
    """A sandbox under its limit is told nothing, and what it takes is known."""
    ear = Ear()
    looks = counted(monkeypatch)
    with sweep.watch([tmp_path], 5, ear) as watched:
        fill(tmp_path, 2)
        await looks(2)
        assert (2 * MB, 0) == (watched.used, ear.waiting)


async def test_all_folders_count_together(sweep, autojump_clock, tmp_path):
    """Workspace and home share the limit."""
    ear = Ear()
    folders = [tmp_path / "workspace", tmp_path / "home"]
    for folder in folders:
        folder.mkdir()
        (folder / "half").write_bytes(bytes(600_000))
    with sweep.watch(folders, 1, ear):
        assert OVER == await ear.heard()


async def test_files_without_a_name_count(sweep, autojump_clock, tmp_path):
    """A file that was deleted and is still open counts."""
    ear = Ear()
    fill(tmp_path, 2)
    held = (tmp_path / "large-2").open("rb")
    (tmp_path / "large-2").unlink()
    with held, sweep.watch([tmp_path], 1, ear, lambda: [os.getpid()]):
        assert OVER == await ear.heard()


async def test_a_nest_of_folders_is_told(sweep, autojump_clock, tmp_path):
    """Folders that are nested too deep count as over the limit, whatever they take."""
    ear = Ear()
    at = tmp_path
    for _ in range(MAX_DEPTH + 1):
        at /= "d"
        at.mkdir()
    with sweep.watch([tmp_path], 1, ear):
        assert f"The agent's folders are nested more than {MAX_DEPTH} deep" == await ear.heard()


async def test_one_that_is_gone_does_not_end_the_sweep(sweep, autojump_clock, tmp_path):
    """A folder that can't be read is not told as over the limit, and the others are looked at."""
    ear, deaf = Ear(), Ear()
    fill(tmp_path, 2)
    with sweep.watch([tmp_path / "gone"], 1, deaf), sweep.watch([tmp_path], 1, ear):
        assert OVER == await ear.heard()
    assert 0 == deaf.waiting


async def test_one_that_is_no_longer_watched_is_not_told(
    sweep, autojump_clock, tmp_path, monkeypatch
):
    """The end of a sandbox is the end of its watch."""
    ear, other = Ear(), Ear()
    looks = counted(monkeypatch)
    (tmp_path / "other").mkdir()
    with sweep.watch([tmp_path / "other"], 1, other):
        with sweep.watch([tmp_path], 1, ear):
            await looks(1)
        fill(tmp_path, 2)
        await looks(2)
    assert 0 == ear.waiting


async def test_one_that_ends_while_it_is_looked_at_is_not_told(mock_clock, tmp_path, monkeypatch):
    """If a sandbox ends while it is measured, it is told nothing."""
    ear, sweep, looking = Ear(), DiskSweep(), trio.Event()
    fill(tmp_path, 2)
    take = disk_sweep._take

    def announced(sizes):
        trio.from_thread.run_sync(looking.set)
        return take(sizes)

    monkeypatch.setattr(disk_sweep, "_take", announced)
    async with trio.open_nursery() as nursery:
        with sweep.watch([tmp_path], 1, ear) as watched:
            nursery.start_soon(sweep._look, watched)
            await looking.wait()
        mock_clock.autojump_threshold = 0
    assert 0 == ear.waiting


async def test_the_pace_is_bounded(tmp_path, autojump_clock, monkeypatch):
    """500 entries at 50 a second take 10 seconds, and a thread measures a slice at most."""
    monkeypatch.setattr(disk_sweep, "SLICE", 10)
    monkeypatch.setattr(disk_sweep, "ENTRIES_PER_SECOND", 50)
    for name in range(500):
        (tmp_path / str(name)).touch()
    slices = []
    take = disk_sweep._take

    def counted_take(sizes):
        slices.append(take(sizes))
        return slices[-1]

    monkeypatch.setattr(disk_sweep, "_take", counted_take)
    ear = Ear()
    sweep = DiskSweep()
    with sweep.watch([tmp_path], 100, ear) as watched:
        begun = trio.current_time()
        await sweep._look(watched)
    assert 10 == pytest.approx(trio.current_time() - begun)
    assert 10 == max(map(len, slices))
    assert 500 * 1024 == watched.used


async def test_a_look_ends_when_it_is_too_much(tmp_path, autojump_clock, monkeypatch):
    """Once the limit is exceeded, the rest is not measured."""
    monkeypatch.setattr(disk_sweep, "SLICE", 10)
    for name in range(2000):
        (tmp_path / str(name)).touch()
    ear = Ear()
    sweep = DiskSweep()
    with sweep.watch([tmp_path], 1, ear) as watched:
        await sweep._look(watched)
    assert MB < watched.used <= MB + 10 * 1024
    assert OVER == await ear.heard()


def counted(monkeypatch):
    """`await looks(n)` returns after n more looks have ended."""
    send, receive = trio.open_memory_channel(1000)
    judge = disk_sweep.WatchedSandbox.judge

    def judged(watched, *arguments, **options):
        judge(watched, *arguments, **options)
        send.send_nowait(watched)

    monkeypatch.setattr(disk_sweep.WatchedSandbox, "judge", judged)

    async def looks(count):
        for _ in range(receive.statistics().current_buffer_used):
            receive.receive_nowait()
        for _ in range(count + 1):
            await receive.receive()

    return looks


class Cpu:
    """The CPU time of a group, in ns; None if it can't be read."""

    used: int | None = 0

    def __call__(self):
        return self.used


@pytest.fixture
def cpu():
    return Cpu()


@pytest.fixture
async def idle(tmp_path, cpu):
    """A sandbox that was looked at and has grown since, without CPU; `ear` hears of it."""
    sweep, ear = DiskSweep(), Ear()
    with sweep.watch([tmp_path], 1, ear, cpu_used=cpu):
        await sweep.look_at_due()
        fill(tmp_path, 2)
        yield sweep, ear


async def test_one_that_used_no_cpu_is_not_looked_at(idle):
    """Without CPU nothing can have been written, so an idle sandbox is not measured again."""
    sweep, ear = idle
    await sweep.look_at_due()
    assert 0 == ear.waiting


async def test_one_that_used_cpu_is_looked_at(idle, cpu):
    """A sandbox that has worked since the last look is measured in the next pass."""
    sweep, ear = idle
    cpu.used += disk_sweep.BUSY
    await sweep.look_at_due()
    assert 1 == ear.waiting


async def test_one_whose_cpu_is_unknown_is_looked_at(idle, cpu):
    """A count that can't be read counts as a change."""
    sweep, ear = idle
    cpu.used = None
    await sweep.look_at_due()
    assert 1 == ear.waiting


async def test_one_that_the_daemon_wrote_to_is_looked_at(idle, tmp_path):
    """An upload needs no CPU of the sandbox, so the sweep is told of it."""
    sweep, ear = idle
    sweep.look_again(tmp_path)
    await sweep.look_at_due()
    assert 1 == ear.waiting


async def test_one_that_is_another_is_not_looked_at(idle, tmp_path):
    """What is written to one sandbox is no reason to measure another."""
    sweep, ear = idle
    sweep.look_again(tmp_path / "other")
    await sweep.look_at_due()
    assert 0 == ear.waiting


async def test_a_look_that_failed_is_made_again(tmp_path, cpu):
    """A folder that could not be read has not been measured."""
    sweep, ear = DiskSweep(), Ear()
    with sweep.watch([tmp_path / "later"], 1, ear, cpu_used=cpu):
        await sweep.look_at_due()
        (tmp_path / "later").mkdir()
        fill(tmp_path / "later", 2)
        await sweep.look_at_due()
    assert 1 == ear.waiting


def looks(schedule, cpu_by_time):
    return [now for now, cpu in cpu_by_time if schedule.start_look(cpu, now)]


def test_schedule_of_a_quiet_group():
    """It is looked at once, and then ever less often."""
    expected = [0, 10, 30, 70, 150, 310, 630, 1230, 1830]
    assert expected == looks(LookSchedule(), [(now, 5) for now in range(2000)])


def test_schedule_of_a_group_that_waits():
    """One that uses a little CPU all the time is looked at each ten seconds."""
    assert [0, 10, 20] == looks(LookSchedule(), [(now, now * 900_000) for now in range(30)])


def test_schedule_of_a_busy_group():
    """One that works is looked at in each pass."""
    assert [0, 1, 2, 3] == looks(LookSchedule(), [(now, now * 10_000_000) for now in range(4)])


def test_schedule_after_a_change():
    """A change makes a look due, and another one after ten seconds."""
    schedule = LookSchedule()
    looks(schedule, [(now, 5) for now in range(100)])
    assert [] == looks(schedule, [(100, 5)])
    schedule.changed = True
    assert [101, 111] == looks(schedule, [(now, 5) for now in range(101, 130)])


def test_schedule_of_a_group_without_a_count():
    """Nothing is known of it, so it is looked at in each pass."""
    assert [0, 1, 2] == looks(LookSchedule(), [(now, None) for now in range(3)])


async def test_a_large_one_holds_no_small_one_up(tmp_path, autojump_clock, monkeypatch, nursery):
    """All that are measured take turns. The small one is told long before the large one is done."""
    monkeypatch.setattr(disk_sweep, "SLICE", 10)
    monkeypatch.setattr(disk_sweep, "ENTRIES_PER_SECOND", 100)
    large, small = tmp_path / "large", tmp_path / "small"
    large.mkdir()
    small.mkdir()
    for name in range(2000):
        (large / str(name)).touch()
    fill(small, 2)
    slices, take = [], disk_sweep._take

    def counted_take(sizes):
        slices.append(sizes)
        return take(sizes)

    monkeypatch.setattr(disk_sweep, "_take", counted_take)
    ear, sweep = Ear(), DiskSweep()
    with sweep.watch([large], 100, Ear()), sweep.watch([small], 1, ear):
        nursery.start_soon(sweep.run)
        assert OVER == await ear.heard()
        assert len(slices) < 10


async def test_one_that_is_still_being_measured_is_not_measured_twice(
    tmp_path, autojump_clock, monkeypatch, nursery
):
    """The next look comes when this one is done."""
    monkeypatch.setattr(disk_sweep, "ENTRIES_PER_SECOND", 1)
    looks = counted(monkeypatch)
    sweep = DiskSweep()
    (tmp_path / "file").touch()
    with sweep.watch([tmp_path], 1, Ear()):
        nursery.start_soon(sweep.run)
        await looks(2)
        assert 1 < trio.current_time()


async def test_one_that_holds_too_much_open_is_told_once(tmp_path, autojump_clock, monkeypatch):
    """The text does not come again in the next pass."""
    monkeypatch.setattr("ash.limits.disk_usage.MAX_HELD", 2)
    ear, sweep = Ear(), DiskSweep()
    with sweep.watch([tmp_path], 1, ear, lambda: [os.getpid()]) as watched:
        for _ in range(2):
            watched.look_again()
            await sweep.look_at_due()
        assert disk_sweep.TOO_MANY_HELD == await ear.heard()
        assert 0 == ear.waiting


async def test_one_that_keeps_a_folder_closed_is_told(tmp_path, autojump_clock, monkeypatch):
    """What can't be measured counts as over, and the text says why."""

    def closed(*_):
        raise PermissionError

    monkeypatch.setattr("ash.limits.disk_usage._Level.stat", closed)
    ear, sweep = Ear(), DiskSweep()
    fill(tmp_path, 1)
    with sweep.watch([tmp_path], 10, ear):
        await sweep.look_at_due()
        assert "The agent keeps a folder closed while its disk use is measured" == await ear.heard()
