"""A base URL that does not lead to a model endpoint, and the bound for all that can fail."""

import json

import h11
import pytest
import trio
import trio.testing

from ash.egress import ModelFaults
from ash.egress.model_answer import ModelAnswer, redirect_target
from tests.support.egress import KEY

PATIENCE = 25.0
STREAM = ("content-type", "text/event-stream; charset=utf-8")
JSON = ("content-type", "application/json")
ERROR = b'event: error\ndata: {"type":"error","error":{"message":"too much"}}\n\n'
STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


def always(status, body=b"", *headers):
    """A handler that gives this answer to each request."""

    async def answer(peer, request, server):
        await peer.body()
        await peer.answer(status, body, headers)

    return answer


async def cut(peer, request, server):
    """A handler that begins a stream and leaves."""
    await peer.body()
    await peer.begin(200, [STREAM])
    await peer.send(h11.Data(b"event: ping\n\n"))
    await peer.stream.aclose()


async def leave(peer, request, server):
    await peer.body()
    await peer.stream.aclose()


async def be_silent(peer, request, server):
    await trio.sleep_forever()


async def ask(proxied):
    return await proxied.ask("POST", "/v1/messages?beta=true", body=b"{}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            always(302, b"", ("location", "https://me:pw@gw.test/x/v1/messages?key=1#y")),
            "answers with a redirect to https://gw.test/x: set anthropic_base_url",
        ),
        (always(308), "answers with a redirect to nowhere (308), not as a model endpoint: check"),
        (
            always(200, b"<html>", ("content-type", "Text/HTML; charset=utf-8")),
            "answers with a web page (text/html), not as a model endpoint: check anthropic_base",
        ),
        (
            always(200, b"hi", ("content-type", "text/plain")),
            "answers with something else (text/plain), not as a model endpoint: check anthropic_",
        ),
        (
            always(200, b"", JSON),
            "answers with nothing (200, an empty body), not as a model endpoint: check anthropic",
        ),
        (
            always(404, b"\n<!doctype html>", ("content-type", "text/html")),
            "does not have the path of a model call (404, with a web page): check anthropic_base",
        ),
    ],
)
async def test_wrong_endpoint_is_told_and_not_tried_again(proxy, serve, answer, words):
    """The same answer would come again, so the turn ends at once, with the cause and the cure."""
    server = await serve(answer)
    async with proxy(model=server.port) as proxied:
        _, headers, _ = await ask(proxied)
        error = proxied.egress.faults.last.error
    assert "false" == headers["x-should-retry"]
    assert "location" not in headers
    assert error.startswith(f"The model endpoint http://127.0.0.1:{server.port} {words}")
    assert "ANTHROPIC_BASE_URL" in error
    assert 1 == len(server.asked)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/login?next=1", "http://gw/login"),
        ("https://gw/v1/messages", "https://gw"),
        ("//other/v1/messages/", "http://other/v1/messages"),
        ("http://[", ""),
        ("", ""),
    ],
)
def test_redirect_is_told_as_a_base_url(location, expected):
    """So that it can be set as it stands."""
    headers = [(b"Location", location.encode())]
    assert expected == redirect_target(headers, "http://gw", "/v1/messages")


async def test_secret_in_a_redirect_is_not_told(proxy, serve):
    """The endpoint may repeat the key in the path."""
    server = await serve(always(302, b"", ("location", f"/{KEY}")))
    async with proxy(model=server.port) as proxied:
        await ask(proxied)
        assert KEY not in proxied.egress.faults.last.error


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (ERROR, "ended its answer with an error (too much)"),
        (b"event: ping\n\n", "ended its answer before it was whole"),
        (b'{"object":"list"}', "answers with JSON that is no message, not as a model endpoint"),
        (b'{"type":"error","error":{"message":"no"}}', "ended its answer with an error (no)"),
        (b'{"error":"no"}', "ended its answer with an error (no)"),
    ],
)
async def test_answer_without_the_end_of_a_message_is_a_fault(proxy, serve, body, words):
    """It is passed on as it is; the CLI finds the same fault in it."""
    server = await serve(always(200, body, JSON if body.startswith(b"{") else STREAM))
    async with proxy(model=server.port) as proxied:
        assert (200, body) == (await ask(proxied))[::2]
        await trio.testing.wait_all_tasks_blocked()
        assert words in proxied.egress.faults.last.error


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_end_of_a_message_is_found_in_parts_of_any_size(size):
    """Also behind more text than is kept."""
    answer, body = ModelAnswer(), b"event: ping\n\n" * 1000 + STOP
    found = []
    for at in range(0, len(body), size):
        answer.feed(body[at : at + size])
        found.append(answer.is_whole)
    assert (False, True) == (found[0], found[-1])


FAILURES = {
    "408": always(408),
    "409": always(409),
    "429": always(429),
    "429, in a second": always(429, b"", ("retry-after", "1")),
    "429, in milliseconds": always(429, b"", ("retry-after-ms", "500")),
    "500": always(500, b"<html>"),
    "529, again": always(529, b"", ("x-should-retry", "true")),
    "redirect": always(302, b"", ("location", "/login")),
    "web page": always(200, b"<html>", ("content-type", "text/html")),
    "nothing": always(200),
    "no content": always(204),
    "empty stream": always(200, b"", STREAM),
    "error in the stream": always(200, ERROR, STREAM),
    "stream without an end": always(200, b"event: ping\n\n", STREAM),
    "no message": always(200, b'{"object":"list"}', JSON),
    "compressed": always(200, b"x", ("content-encoding", "gzip")),
    "cut": cut,
    "left": leave,
    "silent": be_silent,
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_bound_holds_for_all_that_can_fail(proxy, serve, autojump_clock, kind):
    """A client that goes on trying until it is told to stop is told so within the bound.

    To a client whose answer had begun it can only be told when it asks again, one pause later.
    """
    server = await serve(FAILURES[kind])
    async with proxy(model=server.port) as proxied:
        proxied.egress.faults = ModelFaults(PATIENCE)
        if kind == "silent":
            proxied.egress._upstream._client.timeout = PATIENCE
        began, tries, again = trio.current_time(), 0, True
        while again:
            try:
                _, headers, _ = await ask(proxied)
                again = headers.get("x-should-retry") != "false"
            except h11.RemoteProtocolError:
                again = True
            tries += 1
            if again:
                await trio.sleep(min(0.625 * 2.0 ** (tries - 1), 40))
        assert trio.current_time() - began < 2 * PATIENCE
        assert tries < 8
        assert proxied.egress.faults.last is not None


async def test_call_after_the_bound_is_asked_again(proxy, serve):
    """Only the tries of the answer that broke off are ended; the next turn's call is a new one."""
    server = await serve(cut)
    async with proxy(model=server.port) as proxied:
        proxied.egress.faults = ModelFaults(0.001)
        with pytest.raises(h11.RemoteProtocolError):
            await ask(proxied)
        status, _, body = await ask(proxied)
        assert (502, "The model endpoint broke off") == (status, json.loads(body)["error"])
        with pytest.raises(h11.RemoteProtocolError):
            await ask(proxied)
    assert 2 == len(server.asked)
