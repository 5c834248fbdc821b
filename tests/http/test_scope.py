"""What the server tells the app of a request, and what it leaves alone."""

import logging

import trio

OK = {"type": "http.response.start", "status": 204, "headers": []}
LAST = {"type": "http.response.body", "body": b"", "more_body": False}


async def test_scheme_is_plain_http(serving, autojump_clock):
    """The server speaks no TLS, so links that an app makes of the scheme begin with http."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["scheme"])
        await send(OK)
        await send(LAST)

    await (await (await serving(app)).connect()).ask()
    assert ["http"] == seen


async def test_answering_sets_up_no_logging(serving, autojump_clock, monkeypatch):
    """What goes to stderr is ours: Hypercorn's own handlers would write lines of another form."""

    async def app(scope, receive, send):
        await send(OK)
        await send(LAST)

    logger = logging.getLogger("hypercorn.error")
    monkeypatch.setattr(logger, "handlers", [])
    await (await (await serving(app)).connect()).ask()
    assert [] == logger.handlers


async def test_client_that_leaves_its_last_request_is_noticed(serving, autojump_clock):
    """The app gets its disconnect although nothing more of the client would be read."""
    asked, told = trio.Event(), trio.Event()

    async def app(scope, receive, send):
        asked.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        told.set()

    client = await (await serving(app)).connect()
    await client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await asked.wait()
    await client.stream.aclose()
    with trio.fail_after(5):
        await told.wait()
