"""The Unix socket by which a sandbox reaches its proxy."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trio

from ash.egress.errors import Traffic
from ash.egress.proxy_connection import CHUNK

SOCKET_NAME = "egress.sock"

# Who connects while all places are taken waits in the kernel.
BACKLOG = 128


@asynccontextmanager
async def open_listener(folder: Path) -> AsyncIterator[trio.SocketListener]:
    """Makes `folder`, if need be, with the socket in it; the socket is removed in the end.

    The folder is what the sandbox gets to see. It must lie in one that other users of the host
    can't enter: the socket itself is open to any uid, as the one inside is not the daemon's.
    """
    bound = await trio.to_thread.run_sync(_bind, folder)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(bound))
    try:
        async with listener:
            yield listener
    finally:
        # Where the disk takes no writes it stays: the next one takes its place.
        with trio.CancelScope(shield=True), suppress(OSError):
            await trio.to_thread.run_sync(_remove, folder / SOCKET_NAME)


def _bind(folder: Path) -> socket.socket:
    """By way of the folder's descriptor: a socket's path may have 107 bytes and no more."""
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


class Bounded(trio.abc.Listener[trio.SocketStream]):
    """Accepts no more than `places` connections at a time; each is given back by `leave`."""

    def __init__(self, listener: trio.SocketListener, places: int) -> None:
        self._listener = listener
        self._places = trio.Semaphore(places)

    async def accept(self) -> trio.SocketStream:
        await self._places.acquire()
        try:
            return await self._listener.accept()
        except BaseException:
            self._places.release()
            raise

    def leave(self) -> None:
        self._places.release()

    async def aclose(self) -> None:
        await self._listener.aclose()


# Longer than the pauses of anything that is kept open for good reason: WebSockets, event
# streams and SSH ping. A half-closed connection that nobody finishes is ended by it too.
IDLE_SECONDS = 900


async def join_streams(
    inner: trio.abc.HalfCloseableStream, outer: trio.abc.HalfCloseableStream, traffic: Traffic
) -> None:
    """Returns when both directions have ended, one is broken, or nothing moves any more.

    The streams stay the caller's.
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
