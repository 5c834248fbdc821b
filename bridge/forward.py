"""Listens on loopback inside the sandbox and forwards connections to the daemon's proxy."""

import errno
from functools import partial

import trio

# Squid's port: an agent's own programs are unlikely to use it.
PORT = 3128

CHUNK = 64 * 1024

# The engine needs some key to start; the proxy replaces it by the real one.
NO_KEY = "added-by-the-proxy"


async def serve(path: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Forwards connections to the Unix socket until cancelled.

    `nursery.start` returns the port: PORT, or a free one if PORT is taken, which happens where
    sandboxes share the host's network. Raises OSError if it can't listen.
    """
    listeners = await _listen()
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(partial(_forward, path), listeners)


def environment(port: int) -> dict[str, str]:
    """The variables by which programs in the sandbox find the proxy; none of them is secret."""
    proxy = f"http://127.0.0.1:{port}"
    return {
        "ANTHROPIC_API_KEY": NO_KEY,
        "ANTHROPIC_BASE_URL": proxy,
        **dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], proxy),
        **dict.fromkeys(["NO_PROXY", "no_proxy"], "127.0.0.1,localhost"),
        # Node's built-in fetch uses the variables above only if this one is set.
        "NODE_USE_ENV_PROXY": "1",
    }


async def _listen() -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(PORT, host="127.0.0.1")
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return await trio.open_tcp_listeners(0, host="127.0.0.1")


async def _forward(path: str, inner: trio.SocketStream) -> None:
    """Forwards one connection; if the proxy can't be reached, the connection is just closed."""
    async with inner:
        try:
            outer = await trio.open_unix_socket(path)
        except OSError:
            return
        async with outer, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, inner, outer, nursery.cancel_scope)
            nursery.start_soon(_pump, outer, inner, nursery.cancel_scope)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    """Copies one direction to its end. The other direction goes on, unless this one breaks."""
    try:
        while chunk := await source.receive_some(CHUNK):
            await sink.send_all(chunk)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        both.cancel()
