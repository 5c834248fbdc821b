"""How a daemon ends: in bounded time, whatever clients and agents do."""

import os
import signal
import socket
import threading
from functools import partial

import pytest
import trio

from tests.support.daemon import KEY, running, settings
from tests.support.processes import alive, descendants
from tests.support.waiting import until

# How long an ending may take here: with the default grace it is 15 s.
BOUND = 8.0

SLOW = "SLOW: 100 60"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


def events(frames):
    return [frame.event for frame in frames]


async def test_open_streams_end_with_shutdown(data_dir):
    """SIGTERM ends turns with a reason; their sessions are paused, and nothing is left."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        async with daemon.us.sending(session, SLOW, includePartialMessages=True) as stream:
            await stream.until("text_delta")
            family = descendants(os.getpid())
            with trio.fail_after(BOUND):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(daemon.stop)
                    frames = await stream.rest()
        assert {"sessionId": session, "reason": "shutdown"} == frames[-1].value
        assert "error" not in events(frames)
    assert [] == [pid for pid in family if alive(pid)]
    async with running(settings(data_dir)) as daemon:
        assert "paused" == await daemon.us.status(session)
        actions = [row["data"] for row in await daemon.us.history(session, "events")]
        assert '{"action":"paused","reason":"shutdown"}' == actions[-1]


async def test_agent_that_does_not_follow_is_killed(data_dir):
    """Its turn ends with `shutdown` and its session is paused, as with one that does."""
    async with running(settings(data_dir, grace_seconds=1.5)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        async with daemon.us.sending(session, SLOW, includePartialMessages=True) as stream:
            await stream.until("text_delta")
            for pid in descendants(os.getpid()):
                os.kill(pid, signal.SIGSTOP)
            with trio.fail_after(BOUND):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(daemon.stop)
                    frames = await stream.rest()
        assert {"sessionId": session, "reason": "shutdown"} == frames[-1].value
    async with running(settings(data_dir)) as daemon:
        assert "paused" == await daemon.us.status(session)


async def test_no_new_work_is_taken(data_dir):
    """While turns end, nothing new begins."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        await daemon.stop()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream("127.0.0.1", int(daemon.url.rpartition(":")[2]))


async def refuses(daemon):
    """Whether it accepts nobody any more: so it has begun to end."""
    host, port = daemon.url.removeprefix("http://").split(":")
    try:
        stream = await trio.open_tcp_stream(host, int(port))
    except OSError:
        return True
    await stream.aclose()
    return False


async def test_reader_that_is_slow_gets_the_end(data_dir):
    """What was shown before the end reaches a client that reads it late."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        with trio.fail_after(BOUND):
            async with daemon.us.sending(session, "BIG: 3000") as stream:
                await daemon.us.completes(session)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(daemon.stop)
                    await until(partial(refuses, daemon))
                    assert not daemon.ended.is_set()
                    frames = await stream.rest()
    assert "done" == frames[-1].event


async def test_reader_that_has_stopped_holds_nobody_up(data_dir):
    """A client that reads nothing more costs the grace and no more."""
    async with running(settings(data_dir, grace_seconds=0.5)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        host, port = daemon.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            body = b'{"content":"BIG: 8000"}'
            head = f"POST /api/sessions/{session}/messages HTTP/1.1\r\nHost: x\r\n"
            head += f"Authorization: Bearer {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            await daemon.us.completes(session)
            with trio.fail_after(BOUND):
                await daemon.stop()


async def test_second_signal_skips_the_waiting(data_dir):
    """Who asks twice means it."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        async with daemon.us.sending(session, SLOW, includePartialMessages=True) as stream:
            await stream.until("text_delta")
            for pid in descendants(os.getpid()):
                os.kill(pid, signal.SIGSTOP)
            family = descendants(os.getpid())
            signal.raise_signal(signal.SIGTERM)
            await until(partial(refuses, daemon))
            assert not daemon.ended.is_set()
            signal.raise_signal(signal.SIGTERM)
            with trio.fail_after(BOUND):
                await daemon.ended.wait()
    assert [] == [pid for pid in family if alive(pid)]


async def test_idle_daemon_ends_at_once(data_dir):
    """Open connections without a request do not hold it up; of its own nothing is left."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.get("/health")
        with trio.fail_after(2):
            await daemon.stop()
    assert not any(thread.name.startswith("spawner") for thread in threading.enumerate())
