"""One address on loopback inside the sandbox that leads to the daemon's proxy outside."""

import errno
from functools import partial

import trio

# Squid's port: what an agent is likely to start listens elsewhere.
PORT = 3128

CHUNK = 64 * 1024

# What the engine needs to see; the key is put in by the proxy.
NO_KEY = "added-by-the-proxy"


async def serve(path: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
    """Forwards connections to the Unix socket until cancelled.

    Tells the port by `nursery.start`: PORT, or a free one if that is taken, as it may be where
    sandboxes share the host's network. Raises OSError if it can't listen.
    """
    listeners = await _listen()
    task_status.started(listeners[0].socket.getsockname()[1])
    await trio.serve_listeners(partial(_forward, path), listeners)


def environment(port: int) -> dict[str, str]:
    """What programs in the sandbox need to find the way out; none of it is a secret."""
    proxy = f"http://127.0.0.1:{port}"
    return {
        "ANTHROPIC_API_KEY": NO_KEY,
        "ANTHROPIC_BASE_URL": proxy,
        **dict.fromkeys(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"], proxy),
        **dict.fromkeys(["NO_PROXY", "no_proxy"], "127.0.0.1,localhost"),
        # Node's own fetch heeds the variables above only if told so.
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
    """The proxy's answer is the only one there is: without it the connection just ends."""
    async with inner:
        try:
            outer = await trio.open_unix_socket(path)
        except OSError:
            return
        async with outer, trio.open_nursery() as nursery:
            nursery.start_soon(_pump, inner, outer, nursery.cancel_scope)
            nursery.start_soon(_pump, outer, inner, nursery.cancel_scope)


async def _pump(source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope) -> None:
    """One direction up to its end; the other one goes on, unless this one breaks."""
    try:
        while chunk := await source.receive_some(CHUNK):
            await sink.send_all(chunk)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        both.cancel()
