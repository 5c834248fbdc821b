"""Fixtures for egress: servers outside, and a sandbox's proxy that is being served."""

from contextlib import asynccontextmanager

import pytest
import trio

from ash.egress import SOCKET_NAME, Egress, ModelUpstream, credential_headers, open_listener, parse
from tests.support.egress import KEY, Proxied, Server


@pytest.fixture
async def listen(nursery):
    """`await listen(handler)`: the port of a server for raw connections."""

    async def start(handler):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        return listeners[0].socket.getsockname()[1]

    return start


@pytest.fixture
async def serve(listen):
    """`await serve(handler)`: an HTTP server and its port; the handler answers one request."""

    async def start(handler):
        server = Server(handler)
        server.port = await listen(server.serve)
        return server

    return start


@pytest.fixture
async def proxy(nursery, tmp_path):
    """`async with proxy(network=…, model=port, …)`: a sandbox's proxy, being served."""

    @asynccontextmanager
    async def opened(network="public", model=1, *, key=KEY, custom=None, path="", **given):
        log = []

        async def sink(lines):
            log.extend(lines)

        url = f"http://127.0.0.1:{model}{path}"
        headers = credential_headers({"ANTHROPIC_API_KEY": key}, custom)
        async with ModelUpstream(url, headers) as upstream:
            egress = Egress(parse(network), upstream, sink, **given)
            async with open_listener(tmp_path / "run") as listener, trio.open_nursery() as serving:
                serving.start_soon(egress.serve, listener)
                await trio.testing.wait_all_tasks_blocked()
                proxied = Proxied(egress, str(tmp_path / "run" / SOCKET_NAME), log)
                try:
                    yield proxied
                finally:
                    serving.cancel_scope.cancel()
                    proxied.close()

    return opened
