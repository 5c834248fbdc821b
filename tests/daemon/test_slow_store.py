"""A store that hangs: not locked, not failing, its disk just does not answer for seconds."""

import threading

import pytest
import trio

from ash import events
from ash.sessions.turn import Turn
from ash.store.sqlite import SqliteDriver
from tests.support.crash import Ashd
from tests.support.daemon import KEY, Client, running, settings
from tests.support.loop_disk import loop_disk

PING_SECONDS = 0.2

# So many of them while the store hangs: longer than an agent may be silent, or take to stop.
PINGS = 10
SILENCE_SECONDS = STEP_SECONDS = 0.5

# What needs no write is answered at once, on a machine that is busy with other things.
AT_ONCE = 3.0


class Disk:
    """Holds each commit while it hangs."""

    def __init__(self):
        self._works = threading.Event()
        self._works.set()

    def hang(self):
        self._works.clear()

    def answer(self):
        self._works.set()

    def commit(self, commit, driver, units):
        self._works.wait()
        return commit(driver, units)


@pytest.fixture
def disk(monkeypatch):
    disk, commit = Disk(), SqliteDriver._commit
    monkeypatch.setattr(
        SqliteDriver, "_commit", lambda driver, units: disk.commit(commit, driver, units)
    )
    yield disk
    disk.answer()


@pytest.fixture
async def us(data_dir, disk, monkeypatch):
    monkeypatch.setattr("ash.http.asgi.PING_SECONDS", PING_SECONDS)
    monkeypatch.setattr(Turn.stop, "__defaults__", (STEP_SECONDS,))
    wanted = settings(data_dir, turn_silence_timeout=SILENCE_SECONDS)
    async with running(wanted) as daemon:
        await daemon.us.deploy()
        yield daemon.us
        disk.answer()


async def hung(stream):
    """What is shown while the store hangs, for as long as it takes so many pings to come."""
    frames, pings = [], 0
    with trio.fail_after(30):
        while pings < PINGS:
            frame = await stream.frame_or_ping()
            if frame is None:
                pings += 1
            else:
                frames.append(frame)
    return frames


async def reads(us, *sessions):
    with trio.fail_after(AT_ONCE):
        assert "ok" == (await us.get("/health")).json()["status"]
        assert 200 == (await us.get("/api/sessions")).status_code
        for session in sessions:
            for kind in ("messages", "events", "logs", "files"):
                assert 200 == (await us.get(f"/api/sessions/{session}/{kind}")).status_code


async def test_everything_else_goes_on(us, disk):
    """Reading, health and open streams; what comes then is as it would have been."""
    busy, idle = await us.create(), await us.create()
    await us.say(idle, "hello")
    async with (
        us.watching(idle) as watcher,
        us.sending(busy, "SLOW: 5 1", includePartialMessages=True) as turn,
    ):
        first = await turn.until("text_delta")
        disk.hang()
        await reads(us, busy, idle)
        assert [] == await hung(watcher)
        await reads(us, busy, idle)
        disk.answer()
        frames = await turn.rest()
    assert "completed" == frames[-1].value["reason"]
    numbers = [frame.id for frame in (first, *frames)]
    assert list(range(first.id, first.id + len(numbers))) == numbers
    assert "completed" == (await us.say(idle, "still there?"))[-1].value["reason"]


async def test_nothing_is_shown_before_it_is_stored(us, disk):
    """Neither a message nor the end of a turn, nor the start of the next one."""
    busy, idle = await us.create(), await us.create()
    async with us.sending(busy, "SLOW: 2 0.2", includePartialMessages=True) as turn:
        await turn.until("text_delta")
        disk.hang()
        shown = await hung(turn)
        assert [] == [frame for frame in shown if lasts(frame)]
        async with trio.open_nursery() as nursery:
            begun = []
            nursery.start_soon(say, us, idle, begun)
            async with us.watching(idle) as watcher:
                assert [] == await hung(watcher)
            assert [] == begun
            disk.answer()
        rest = await turn.rest()
    assert ("message", "done") == (rest[-2].event, rest[-1].event)
    assert "completed" == begun[-1].value["reason"]


def lasts(frame):
    """Whether it may be shown only when it is stored; deltas need not be."""
    if frame.event == "message":
        return events.read(frame.data).durable
    return not frame.event.endswith("_delta")


async def say(us, session, frames):
    frames += await us.say(session, "hello")


async def test_agent_is_not_blamed_for_it(us, disk):
    """It was not silent, and it did stop when it was asked to."""
    silent, stopped = await us.create(), await us.create()
    async with (
        us.watching(silent) as watcher,
        us.sending(silent, "BASH: sleep 0.1; echo done") as one,
        us.sending(stopped, "SLOW: 50 20", includePartialMessages=True) as other,
    ):
        await one.until("session_start")
        await other.until("text_delta")
        disk.hang()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(us.post, f"/api/sessions/{stopped}/pause")
            await hung(watcher)
            disk.answer()
        ends = [(await stream.rest())[-1].value["reason"] for stream in (one, other)]
    assert ["completed", "stopped"] == ends
    assert ["active", "paused"] == [await us.status(each) for each in (silent, stopped)]
    resumed = await us.post(f"/api/sessions/{stopped}/resume")
    rows = await us.history(stopped, "events")
    assert (200, True) == (resumed.status_code, '"path":"warm"' in rows[-1]["data"])


async def test_disk_that_is_frozen_holds_up_writes_alone(tmp_path):
    """For real: while a snapshot of the machine is taken, no read waits in the loop."""
    with loop_disk(tmp_path) as frozen_disk:
        ashd = Ashd(frozen_disk.folder / "data", "--engine", "scripted")
        await ashd.start()
        try:
            async with Client(ashd.url, KEY) as us, trio.open_nursery() as nursery:
                await us.deploy()
                session, other = await us.create(), await us.create()
                async with us.sending(session, "SLOW: 4 1", includePartialMessages=True) as turn:
                    await turn.until("text_delta")
                    with frozen_disk.frozen():
                        said = []
                        nursery.start_soon(say, us, other, said)
                        shown = await turn.up_to("text_delta")
                        for _ in range(20):
                            await reads(us, session, other)
                        assert [] == [frame for frame in shown if lasts(frame)]
                        assert [] == said
                    assert "completed" == (await turn.rest())[-1].value["reason"]
            assert "completed" == said[-1].value["reason"]
        finally:
            await ashd.stop()
