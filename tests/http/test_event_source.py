"""A browser's own `EventSource`, through a network that breaks off."""

import json

import pytest
import trio

from tests.support.browser import browsing
from tests.support.daemon import running, settings

# For a browser to start, on a machine that is busy with other things.
PATIENCE = 60.0

EVENTS = ["session_start", "text_delta", "message", "turn_complete", "error", "done", "gap"]

PAGE = """<!doctype html><title>test</title><script>
const tell = (path, data) => fetch(path, {method: "POST", body: JSON.stringify(data)});
const seen = [];
const source = new EventSource(ADDRESS);
source.onopen = () => tell("/opened", null);
for (const name of EVENTS)
  source.addEventListener(name, ({lastEventId, data}) => {
    // The server's `error` and the browser's own have one name; only one has data.
    if (data === undefined) return;
    seen.push([Number(lastEventId), name, data]);
    if (name === "text_delta" || name === "done") tell("/" + name, seen);
  });
</script>"""


class Site:
    """The page's server, and what the page tells it."""

    def __init__(self):
        self.page = b""
        self._told = {}

    async def told(self, name):
        """The next thing told under this name."""
        with trio.fail_after(PATIENCE):
            return await self._channel(name)[1].receive()

    def _channel(self, name):
        return self._told.setdefault(name, trio.open_memory_channel(1000))

    async def __call__(self, scope, receive, send):
        body = b""
        while (event := await receive())["type"] == "http.request":
            body += event["body"]
            if not event["more_body"]:
                break
        if scope["method"] == "POST":
            self._channel(scope["path"][1:])[0].send_nowait(json.loads(body))
        headers = [(b"content-type", b"text/html; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.page, "more_body": False})


class Wire:
    """A TCP proxy whose connections can be cut."""

    def __init__(self, host, port, nursery):
        self._there = (host, port)
        self._nursery = nursery
        self._connections = []

    async def serve(self, task_status):
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listener.socket.getsockname()[1])
        await trio.serve_listeners(self._join, [listener])

    def cut(self):
        for connection in self._connections:
            connection.cancel()
        self._connections.clear()

    async def _join(self, here):
        async with (
            here,
            await trio.open_tcp_stream(*self._there) as there,
            trio.open_nursery() as nursery,
        ):
            self._connections.append(nursery.cancel_scope)
            nursery.start_soon(self._pump, here, there, nursery.cancel_scope)
            nursery.start_soon(self._pump, there, here, nursery.cancel_scope)

    async def _pump(self, source, sink, scope):
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


@pytest.fixture
async def us(tmp_path):
    async with running(settings(tmp_path / "data")) as daemon:
        yield daemon.us


async def test_browser_that_reconnects_misses_nothing(us, tmp_path, serving, nursery):
    """Cut off before its first frame and again in mid-turn: each frame once, in order."""
    await us.deploy()
    session = await us.create()
    wire = Wire(us.base_url.host, us.base_url.port, nursery)
    port = await nursery.start(wire.serve)
    issued = (await us.post(f"/api/sessions/{session}/stream-ticket")).json()
    address = f"http://127.0.0.1:{port}/api/sessions/{session}/stream?ticket={issued['ticket']}"
    site = Site()
    page = PAGE.replace("ADDRESS", json.dumps(address)).replace("EVENTS", json.dumps(EVENTS))
    site.page = page.encode()
    server = await serving(site, tcp=True)
    url = "http://{}:{}/".format(*server.listener.socket.getsockname())

    async with browsing(url, tmp_path / "browser"):
        await site.told("opened")
        wire.cut()
        sent = await us.say(session, "while nobody listened")
        await site.told("opened")
        await site.told("done")
        async with us.sending(session, "SLOW: 12 3", includePartialMessages=True) as turn:
            await site.told("text_delta")
            wire.cut()
            sent += await turn.rest()
        await site.told("opened")
        seen = await site.told("done")

    assert [[frame.id, frame.event, frame.data.decode()] for frame in sent] == seen
