"""The Unix socket by which a sandbox reaches its proxy, and the relay between two streams."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from ash.egress.proxy_connection import CHUNK, Traffic

SOCKET_NAME = "egress.sock"

# How many connections the kernel holds while the proxy accepts none.
BACKLOG = 128

# A connection on which nothing moves for so long is closed. It is longer than the pauses of
# WebSockets, event streams and SSH, which are kept open for good reason.
IDLE_SECONDS = 900


@asynccontextmanager
async def open_listener(folder: Path) -> AsyncIterator[trio.SocketListener]:
    """Listens on a socket in `folder`, which is made if needed; the socket is removed at the end.

    The sandbox sees this folder. Any uid may connect to the socket, because the sandbox's uid is
    not the daemon's; so the folder must lie in one that other users of the host can't enter.
    """
    bound = await trio.to_thread.run_sync(_bind, folder)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
    try:
        async with listener:
            yield listener
    finally:
        # If it can't be removed, the next listener replaces it.
        with trio.CancelScope(shield=True), suppress(OSError):
            await trio.to_thread.run_sync(_remove, folder / SOCKET_NAME)


def _bind(folder: Path) -> socket.socket:
    """Binds through the folder's descriptor, because a socket's path is limited to 107 bytes."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o711)
    _remove(folder / SOCKET_NAME)
    listener = socket.socket(socket.AF_UNIX)
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
        (folder / SOCKET_NAME).chmod(0o666)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    finally:
        os.close(handle)
    return listener


def _remove(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.unlink()


async def join_streams(
    inner: trio.abc.HalfCloseableStream, outer: trio.abc.HalfCloseableStream, traffic: Traffic
) -> None:
    """Copies both directions until both have ended, one breaks, or nothing has moved for long.

    Does not close the streams.
    """

    def sent(count: int) -> None:
        traffic.sent += count
        scope.deadline = trio.current_time() + IDLE_SECONDS

    def received(count: int) -> None:
        traffic.received += count
        scope.deadline = trio.current_time() + IDLE_SECONDS

    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        scope.deadline = trio.current_time() + IDLE_SECONDS
        nursery.start_soon(_pump, inner, outer, sent, scope)
        nursery.start_soon(_pump, outer, inner, received, scope)


async def _pump(
    source: trio.abc.HalfCloseableStream,
    sink: trio.abc.HalfCloseableStream,
    count: Callable[[int], None],
    both: trio.CancelScope,
) -> None:
    try:
        while chunk := await source.receive_some(CHUNK):
            count(len(chunk))
            await sink.send_all(chunk)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        both.cancel()
