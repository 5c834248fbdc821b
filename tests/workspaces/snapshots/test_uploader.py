"""Uploads in the background, in order and repeated after failures."""

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.workspaces.snapshots.snapshot_store import StoreFailed, Subject
from ash.workspaces.snapshots.snapshots import SnapshotSource
from ash.workspaces.snapshots.uploader import FIRST_WAIT, LONGEST_WAIT, QUEUE, Uploader

SOURCE = SnapshotSource(tops={}, limit=0, lean=True, about=Raw(b"1"))


class Backups:
    """Records calls in `done`; raises `trouble` and waits for `hold`."""

    def __init__(self):
        self.done = []
        self.times = []
        self.trouble = []
        self.hold = None

    async def save(self, subject, source):
        assert source is SOURCE
        await self._do("save", subject)
        return True

    async def drop(self, subject):
        await self._do("drop", subject)

    async def _do(self, what, subject):
        self.times.append(trio.current_time())
        if self.hold is not None:
            await self.hold.wait()
        if self.trouble:
            raise self.trouble.pop(0)
        self.done.append((what, subject.name))


@pytest.fixture
def snapshots():
    return Backups()


@pytest.fixture
async def uploader(snapshots, nursery):
    async def find(subject):
        return None if subject.name == "gone" else SOURCE

    uploader = Uploader(snapshots, find)
    nursery.start_soon(uploader.run)
    return uploader


def named(name):
    return Subject("sessions", "us", name)


async def test_changed_subjects_are_uploaded_in_turn(uploader, snapshots, autojump_clock):
    """Changed subjects are uploaded in order, and deleted ones are dropped."""
    for name in ("a", "gone", "b"):
        uploader.add(named(name))
    await uploader.settled()
    assert [("save", "a"), ("drop", "gone"), ("save", "b")] == snapshots.done


async def test_subject_that_changes_twice_is_queued_once(uploader, snapshots, autojump_clock):
    """A subject is queued once, but again if it changes during its upload."""
    snapshots.hold = trio.Event()
    for name in ("a", "b", "b"):
        uploader.add(named(name))
    await wait_all_tasks_blocked()
    uploader.add(named("a"))
    snapshots.hold.set()
    await uploader.settled()
    assert ["a", "b", "a"] == [name for _, name in snapshots.done]


@pytest.mark.parametrize("trouble", [StoreFailed, OSError])
async def test_failing_cloud_is_tried_again_and_again(uploader, snapshots, trouble, autojump_clock):
    """After failures the pauses grow up to a maximum; after a success they start anew."""
    snapshots.trouble = [trouble("down") for _ in range(8)]
    uploader.add(named("a"))
    await trio.sleep(10 * LONGEST_WAIT)
    waits = [
        later - sooner for sooner, later in zip(snapshots.times, snapshots.times[1:], strict=False)
    ]
    assert pytest.approx([FIRST_WAIT * 2**n for n in range(6)] + [LONGEST_WAIT] * 2) == waits
    assert [("save", "a")] == snapshots.done
    uploader.add(named("b"))
    await uploader.settled()
    assert ("save", "b") == snapshots.done[-1]


async def test_failed_subject_goes_behind_the_others(uploader, snapshots, autojump_clock):
    """A failed subject is queued behind the others."""
    snapshots.trouble = [StoreFailed("odd")]
    for name in ("a", "b"):
        uploader.add(named(name))
    await trio.sleep(10 * FIRST_WAIT)
    assert ["b", "a"] == [name for _, name in snapshots.done]


async def test_unexpected_error_does_not_stop_the_uploader(uploader, snapshots, autojump_clock):
    """An unexpected error is logged, and the next subject is uploaded."""
    snapshots.trouble = [RuntimeError("a bug")]
    for name in ("a", "b"):
        uploader.add(named(name))
    await uploader.settled()
    assert [("save", "b")] == snapshots.done


async def test_nobody_waits_for_a_cloud_that_fails(uploader, snapshots, autojump_clock):
    """`settled` returns while uploads fail; the next start finds what is missing."""
    snapshots.trouble = [StoreFailed("down") for _ in range(100)]
    uploader.add(named("a"))
    before = trio.current_time()
    await uploader.settled()
    assert before == trio.current_time()


async def test_queue_is_bounded(uploader, snapshots, autojump_clock):
    """A subject that does not fit into the queue is dropped with a warning."""
    snapshots.hold = trio.Event()
    for number in range(QUEUE + 10):
        uploader.add(named(str(number)))
    snapshots.hold.set()
    await uploader.settled()
    assert QUEUE == len(snapshots.done)
