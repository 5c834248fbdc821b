"""What the store costs over bare sqlite3 in the same run: only the ratios can be compared.

.venv/bin/python bench/store.py [--seconds 3]
"""

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import trio

from ash.model import Session, SessionSettings, StoredSession
from ash.store import Store, open_store
from ash.store.history import NewMessage
from ash.store.schema import load
from ash.store.sessions import add_row

NOW = "2026-01-01T00:00:00.000Z"
CONTENT = '{"type":"assistant","message":{"content":[{"type":"text","text":"' + "x" * 900 + '"}]}}'
WRITERS = 100

# The statement of one `append` of a message, as the driver runs it.
APPEND = load("history")["add_row"].text

CLIENT = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for _ in range(50):
    connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    connection.sendall(b"x" * 500)
    ready.register(connection, selectors.EVENT_READ)
while True:
    for key, _ in ready.select():
        key.fileobj.sendall(key.fileobj.recv(65536))
"""


def session(number: int) -> StoredSession:
    return StoredSession(
        session=Session(
            id=f"session-{number}",
            tenant_id="default",
            agent_name="bench",
            sandbox_id=f"session-{number}",
            status="active",
            created_at=NOW,
            last_active_at=NOW,
        ),
        settings=SessionSettings(),
        agent_version=1,
        owner="bench",
    )


def tell(what: str, times: list[float], bare: list[float] | None = None) -> None:
    ordered = sorted(times)
    p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99)]
    ratio = f"  {p50 / statistics.median(bare):5.1f} x bare" if bare else ""
    percentiles = (
        f"p50 {p50 * 1e6:7.1f} µs  p99 {p99 * 1e6:8.1f} µs  max {ordered[-1] * 1e3:5.1f} ms"
    )
    print(f"{what:40} {percentiles}{ratio}")


def timed(seconds: float, act: Callable[[], object]) -> list[float]:
    times = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        act()
        times.append(time.perf_counter() - start)
    return times


def bare_writes(path: Path, seconds: float) -> list[float]:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA foreign_keys = ON")
    row = add_row("session-0", "message", NOW, content=CONTENT, frame=1, messages=1).params

    def append() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(APPEND, row).fetchall()
        connection.execute("COMMIT")

    times = timed(seconds, append)
    connection.close()
    return times


def bare_reads(path: Path, sql: str, seconds: float) -> list[float]:
    connection = sqlite3.connect(path)
    times = timed(seconds, lambda: connection.execute(sql, ("session-0",)).fetchall())
    connection.close()
    return times


async def appends(store: Store, number: int, end: float, times: list[float]) -> None:
    while (start := time.perf_counter()) < end:
        await store.append(f"session-{number}", 1, [NewMessage(CONTENT, 1, 1)], now=NOW)
        times.append(time.perf_counter() - start)


async def lag(times: list[float]) -> None:
    """How late the loop is for a task that only wants to run every millisecond."""
    while True:
        due = trio.current_time() + 0.001
        await trio.sleep_until(due)
        times.append(max(0.0, trio.current_time() - due))


async def writes(store: Store, writers: int, seconds: float) -> tuple[list[float], list[float]]:
    times: list[float] = []
    lags: list[float] = []
    end = time.perf_counter() + seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag, lags)
        async with trio.open_nursery() as writing:
            for number in range(writers):
                writing.start_soon(appends, store, number, end, times)
        nursery.cancel_scope.cancel()
    return times, lags


async def reads(seconds: float, read: Callable[[], Awaitable[object]]) -> list[float]:
    times = []
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        await read()
        times.append(time.perf_counter() - start)
    return times


@asynccontextmanager
async def busy_loop() -> AsyncIterator[None]:
    """A loop that is never idle: another process talks to it as fast as it answers."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, [listener])
        port = str(listener.socket.getsockname()[1])
        client = [sys.executable, "-c", CLIENT, port]
        nursery.start_soon(partial(trio.run_process, client, deliver_cancel=kill))
        await trio.sleep(1)
        yield
        nursery.cancel_scope.cancel()


async def echo(stream: trio.SocketStream) -> None:
    with suppress(trio.BrokenResourceError):
        async for data in stream:
            await stream.send_all(data)


async def kill(process: trio.Process) -> None:
    process.kill()


async def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ash.db"
        async with open_store(path) as store:
            for number in range(WRITERS):
                await store.create_session(session(number))
                await store.begin_turn(
                    f"session-{number}",
                    1,
                    "{}",
                    start_frame=1,
                    version="1",
                    reserve_frames_to=100,
                    now=NOW,
                )
            bare = await trio.to_thread.run_sync(bare_writes, path, seconds)
            tell("write: bare sqlite3, one thread, no loop", bare)
            for writers in (1, WRITERS):
                times, lags = await writes(store, writers, seconds)
                tell(f"write: append, {writers} at a time", times, bare if writers == 1 else None)
                print(f"{'':40} {len(times) / seconds:.0f} units/s, {len(bare) / seconds:.0f} bare")
                tell("  how late the loop is meanwhile", lags)
            async with busy_loop():
                for writers in (1, 20):
                    times, _ = await writes(store, writers, seconds)
                    tell(f"write: append, {writers} at a time, loop busy", times)
            sql = "SELECT * FROM sessions WHERE id = ?"
            bare = bare_reads(path, sql, seconds)
            tell("read: bare sqlite3, one session", bare)
            times = await reads(seconds, lambda: store.session("default", "session-0"))
            tell("read: session, in the loop", times, bare)
            sql = (
                "SELECT history.* FROM sessions INNER JOIN history ON key > number << 32"
                " WHERE sessions.id = ? ORDER BY key LIMIT 100"
            )
            bare = bare_reads(path, sql, seconds)
            tell("read: bare sqlite3, 100 messages", bare)
            times = await reads(seconds, lambda: store.messages("default", "session-0"))
            tell("read: 100 messages, in a thread", times, bare)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    trio.run(main, parser.parse_args().seconds)
