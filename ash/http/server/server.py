"""Listens, accepts connections, and drains them at the end."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import cast

import trio
from hypercorn.config import Config
from hypercorn.trio.worker_context import EventWrapper, WorkerContext
from hypercorn.typing import ASGIFramework
from trio.socket import IPPROTO_TCP, TCP_USER_TIMEOUT

from ash.http.server.connections import Connections
from ash.http.server.tcp_server import DEFAULT_LIMITS, ConnectionLimits, TCPServer

# For TCP_USER_TIMEOUT: how long a peer may acknowledge nothing.
_UNACKNOWLEDGED_MS = 30_000


async def serve(
    app: ASGIFramework,
    listeners: list[trio.SocketListener],
    *,
    draining: trio.Event,
    grace: float,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves `app` over HTTP/1.1 until `draining` is set and the requests under way have ended.

    Owns the listeners and closes them. Every connection and every run of the app is below the
    caller's task. Once `draining` is set, no connection is accepted and idle ones end at once.
    Requests under way may finish within `grace` seconds, then they are cancelled. Cancelling the
    caller ends everything at once. The app gets `http` scopes only, no lifespan.
    """
    context = _Context(draining)
    connections = Connections(limits.max_connections)

    async def handle(stream: trio.SocketStream) -> None:
        try:
            connection = TCPServer(app, config, context, limits, stream, connections=connections)
        except OSError:
            return  # the client has left already, so the socket has no peer address
        await connection.run()

    config = _configure(limits)
    async with trio.open_nursery() as nursery:
        await _accept(handle, listeners, nursery, draining, task_status)
        nursery.cancel_scope.deadline = trio.current_time() + grace
        for connection in list(connections):
            connection.drain()


class _Context(WorkerContext):
    """Tells Hypercorn's protocol that no further request is served, as soon as draining begins."""

    def __init__(self, draining: trio.Event) -> None:
        super().__init__(max_requests=None)
        self.terminated = cast("EventWrapper", draining)


async def _accept(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
    listeners: list[trio.SocketListener],
    connections: trio.Nursery,
    draining: trio.Event,
    task_status: trio.TaskStatus[None],
) -> None:
    async with trio.open_nursery() as nursery:
        accept = partial(trio.serve_listeners, handle, listeners, handler_nursery=connections)
        await nursery.start(accept)
        task_status.started()
        await draining.wait()
        nursery.cancel_scope.cancel()


def _configure(limits: ConnectionLimits) -> Config:
    config = Config()
    config.include_server_header = False
    config.h11_max_incomplete_size = limits.max_head
    config.keep_alive_timeout = limits.keep_alive_timeout
    config.errorlog = None
    return config


async def open_listeners(host: str, port: int) -> list[trio.SocketListener]:
    """Listens for TCP on each address of `host`; the caller owns the listeners.

    With port 0 the system chooses the port, and only the first address is used: a second would
    get another port. Raises OSError, whose text says which address failed and why.

    Connections inherit TCP_USER_TIMEOUT: a peer that acknowledges nothing for 30 s (its cable is
    out, its machine is off) counts as gone. Without it, small writes would succeed for minutes.
    trio sets SO_REUSEADDR here, and TCP_NODELAY on each connection.
    """
    try:
        listeners = await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        raise OSError(error.errno, f"Can't listen on {host}:{port}: {error.strerror}") from error
    for listener in listeners:
        listener.socket.setsockopt(IPPROTO_TCP, TCP_USER_TIMEOUT, _UNACKNOWLEDGED_MS)
    if port == 0:
        for spare in listeners[1:]:
            spare.socket.close()
        del listeners[1:]
    return listeners
