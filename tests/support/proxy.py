"""A TCP proxy that cuts connections off, where a test wants it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import trio

SIZE = 64 * 1024


class Proxy:
    """Stands before `upstream`, a server's URL, which may change between connections.

    `cuts` says after how many bytes of the server's each next connection is cut off; those
    beyond the list are left alone. `asked` is all that clients have sent.
    """

    def __init__(self, upstream: str, port: int) -> None:
        self.upstream = upstream
        self.url = f"http://127.0.0.1:{port}"
        self.cuts: list[int] = []
        self.asked = b""
        self.connections = 0
        self._open: set[trio.SocketStream] = set()

    async def cut_all(self) -> None:
        """Cuts off all connections there are."""
        for client in list(self._open):
            await client.aclose()

    async def serve(self, client: trio.SocketStream) -> None:
        self.connections += 1
        cut = self.cuts.pop(0) if self.cuts else None
        self._open.add(client)
        try:
            where = urlsplit(self.upstream)
            async with (
                client,
                await trio.open_tcp_stream(where.hostname or "", where.port or 80) as server,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._ask, client, server, nursery.cancel_scope)
                await self._answer(server, client, cut)
                nursery.cancel_scope.cancel()
        except OSError:
            pass  # the server is not there: so is the client's connection not
        finally:
            self._open.discard(client)

    async def _ask(
        self, client: trio.SocketStream, server: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            while data := await client.receive_some(SIZE):
                self.asked += data
                await server.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _answer(
        self, server: trio.SocketStream, client: trio.SocketStream, cut: int | None
    ) -> None:
        left = sys.maxsize if cut is None else cut
        try:
            while data := await server.receive_some(SIZE):
                await client.send_all(data[:left])
                left -= len(data)
                if left <= 0:
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


@asynccontextmanager
async def proxying(upstream: str) -> AsyncIterator[Proxy]:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        proxy = Proxy(upstream, listener.socket.getsockname()[1])
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        nursery.cancel_scope.cancel()
