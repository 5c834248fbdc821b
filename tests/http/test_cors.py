"""Calls from browsers."""

import pytest

from ash.http.cors import Cors

ANY = ["*"]
SOME = ["https://app.example", "http://localhost:3000"]


async def ask(origins, method="GET", **headers):
    """Status and headers of the answer, and whether the app was asked for it."""
    sent, asked = [], []

    async def app(scope, receive, send):
        asked.append(scope)
        await send({"type": "http.response.start", "status": 418, "headers": [(b"x", b"y")]})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def send(event):
        sent.append(event)

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": "/", "headers": raw}
    await Cors(app, origins)(scope, None, send)
    got = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], got, bool(asked)


async def test_any_origin_may_read_by_default():
    """The answer is the app's, with what lets a browser show it to its page."""
    status, headers, _ = await ask(ANY, origin="https://anywhere.example")
    assert (418, "y", "*") == (status, headers["x"], headers["access-control-allow-origin"])
    assert "Retry-After" in headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", SOME)
async def test_origins_that_are_named_may_read(origin):
    """Each is told that it is meant, and caches that another is not."""
    _, headers, _ = await ask(SOME, origin=origin)
    assert (origin, "Origin") == (headers["access-control-allow-origin"], headers["vary"])


@pytest.mark.parametrize(
    "headers",
    [{}, {"origin": "https://evil.example"}, {"origin": "https://app.example.evil"}],
)
async def test_other_origins_may_not_read(headers):
    """No header lets them in; the app answers all the same, as to a client that is no browser."""
    status, got, _ = await ask(SOME, **headers)
    assert (418, "Origin") == (status, got["vary"])
    assert "access-control-allow-origin" not in got


async def test_preflight_is_answered_without_a_key():
    """A browser asks before it sends a key; what it may send is what the routes take."""
    status, headers, asked = await ask(
        ANY, "OPTIONS", origin="https://x.example", access_control_request_method="POST"
    )
    assert (204, False) == (status, asked)
    assert "*" == headers["access-control-allow-origin"]
    methods = headers["access-control-allow-methods"].split(", ")
    assert {"GET", "POST", "PATCH", "DELETE"} <= set(methods)
    allowed = headers["access-control-allow-headers"].split(", ")
    assert {"Authorization", "Content-Type", "Last-Event-ID"} <= set(allowed)
    assert "access-control-expose-headers" not in headers


async def test_preflight_allows_the_headers_that_the_page_asks_for():
    """A page may send what its tracing adds, as well as what the routes read."""
    asked = "authorization, traceparent, x-request-id"
    _, headers, _ = await ask(
        SOME,
        "OPTIONS",
        origin=SOME[0],
        access_control_request_method="POST",
        access_control_request_headers=asked,
    )
    assert asked == headers["access-control-allow-headers"]


async def test_preflight_of_another_origin_allows_nothing():
    """A browser reads that as a no."""
    _, headers, _ = await ask(
        SOME, "OPTIONS", origin="https://evil.example", access_control_request_method="POST"
    )
    assert "access-control-allow-origin" not in headers


async def test_options_without_a_preflight_is_the_app_s():
    """Who asks for the methods of a route gets the route's answer."""
    status, _, asked = await ask(ANY, "OPTIONS")
    assert (418, True) == (status, asked)


async def test_what_is_no_request_passes():
    """The wrapped app is the one to say what it makes of it."""
    asked = []

    async def app(scope, receive, send):
        asked.append(scope["type"])

    await Cors(app, ANY)({"type": "lifespan"}, None, None)
    assert ["lifespan"] == asked
