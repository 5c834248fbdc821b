"""What is said of a model endpoint that fails, and how long its calls are tried again."""

import json
import socket
from contextlib import asynccontextmanager
from functools import partial

import h11
import pytest
import trio
import trio.testing

from ash.egress import ModelFaults, ModelUpstream
from ash.egress.errors import Unreachable
from ash.egress.fault_words import NO_KEY
from ash.egress.model_call import CONNECT_SECONDS, MAX_ERROR, SILENT_SECONDS, ModelCall
from ash.egress.model_faults import ModelFault
from tests.support.egress import KEY

FAULT = ModelFault("oh")
PATIENCE = 120.0
STREAM = ("content-type", "text/event-stream")
MESSAGE = b'{"type":"message"}'


async def refuse(peer, request, server, *, status, headers=(), said="the endpoint's words"):
    await peer.body()
    body = json.dumps({"type": "error", "error": {"message": said}}).encode()
    await peer.answer(status, body, headers)


async def ask(proxied):
    return await proxied.ask("POST", "/v1/messages?beta=true", body=b"{}")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "refused the call (400: the endpoint's words)"),
        (401, "refused the key (401: the endpoint's words): check ANTHROPIC_API_KEY"),
        (403, "does not allow this call (403: the endpoint's words): check what the key"),
        (404, "does not have what was asked for (404: the endpoint's words): check the model"),
        (429, "limits the rate of calls (429: the endpoint's words): try again later"),
        (500, "has failed (500: the endpoint's words): try again later"),
        (529, "is overloaded (529: the endpoint's words): try again later"),
    ],
)
async def test_refusal_is_told_in_words(proxy, serve, status, words):
    """The endpoint, what it says, and what to do; the sandbox gets the answer as it was."""
    server = await serve(partial(refuse, status=status))
    async with proxy(model=server.port) as proxied:
        got, _, body = await ask(proxied)
        fault = proxied.egress.faults.last
    assert (status, "the endpoint's words") == (got, json.loads(body)["error"]["message"])
    assert status == fault.status
    assert fault.error.startswith(f"The model endpoint http://127.0.0.1:{server.port} {words}")


@pytest.mark.parametrize(
    ("status", "again"), [(401, False), (403, False), (429, True), (529, True)]
)
async def test_refused_key_is_not_tried_again(proxy, serve, status, again):
    """The CLI would try for minutes, although the same key will be refused again."""
    server = await serve(partial(refuse, status=status, headers=[("x-should-retry", "true")]))
    async with proxy(model=server.port) as proxied:
        _, headers, _ = await ask(proxied)
    assert ("true" if again else "false") == headers["x-should-retry"]


async def test_call_is_not_tried_again_when_time_is_up(proxy, serve):
    """Then the CLI gives up at once, whatever the endpoint says."""
    server = await serve(partial(refuse, status=529))
    async with proxy(model=server.port) as proxied:
        _, headers, _ = await ask(proxied)
        assert "x-should-retry" not in headers
        proxied.egress.faults = ModelFaults(0.001)
        _, headers, _ = await ask(proxied)
    assert "false" == headers["x-should-retry"]


async def test_pause_that_the_endpoint_asks_for_is_told(proxy, serve):
    """It is passed on, and one that is longer than the time that is left is not waited for."""
    server = await serve(partial(refuse, status=429, headers=[("retry-after", "130")]))
    async with proxy(model=server.port) as proxied:
        _, headers, _ = await ask(proxied)
        fault = proxied.egress.faults.last
    assert ("130", "false") == (headers["retry-after"], headers["x-should-retry"])
    assert fault.error.endswith(": try again in 130 s")


async def test_key_that_is_missing_is_told_as_that(proxy, serve):
    """An endpoint that wants one says that the key is wrong, which would lead astray."""
    server = await serve(partial(refuse, status=401))
    async with proxy(model=server.port) as proxied:
        proxied.egress.headers = []
        await ask(proxied)
        assert NO_KEY == proxied.egress.faults.last.error


async def test_anthropic_is_not_asked_without_a_key(proxy):
    """The answer is known; the sandbox is told not to try again."""
    async with proxy() as proxied, ModelUpstream(None, []) as upstream:
        proxied.egress._upstream, proxied.egress.headers = upstream, upstream.headers
        status, headers, _ = await ask(proxied)
    assert (401, "false") == (status, headers["x-should-retry"])


async def test_fault_of_a_session_s_own_key_names_where_it_is_set(proxy, serve):
    """The operator's key has nothing to do with it."""
    server = await serve(partial(refuse, status=401))
    async with proxy(model=server.port) as proxied:
        proxied.egress.headers = [(b"x-api-key", b"its-own-key")]
        await ask(proxied)
        assert "extraEnv" in proxied.egress.faults.last.error


async def test_endpoint_that_can_t_be_reached_is_told(proxy):
    """The cause is the system's; the sandbox learns neither the cause nor the address."""
    async with proxy(model=1) as proxied:
        status, headers, body = await ask(proxied)
        fault = proxied.egress.faults.last
    assert (502, "true") == (status, headers["x-should-retry"])
    assert b"refused" not in body
    assert fault.status is None
    expected = "The model endpoint http://127.0.0.1:1 can't be reached: connection refused. Check"
    assert fault.error.startswith(expected)
    assert [("system", f"network: {fault.error}")] == proxied.log


async def test_endpoint_that_is_unreachable_for_too_long_is_given_up(proxy):
    """The CLI is told so in the answer that the proxy makes."""
    async with proxy(model=1) as proxied:
        proxied.egress.faults = ModelFaults(0.001)
        _, headers, _ = await ask(proxied)
    assert "false" == headers["x-should-retry"]


async def test_answer_that_breaks_off_is_a_fault(proxy, serve):
    """And a whole one makes up for it."""
    cut = [True, False]

    async def begin(peer, request, server):
        await peer.body()
        await peer.begin(200, [("content-length", str(len(MESSAGE))), STREAM])
        await peer.send(h11.Data(MESSAGE[: 2 if cut[0] else None]))
        await (peer.stream.aclose() if cut.pop(0) else peer.send(h11.EndOfMessage()))

    server = await serve(begin)
    async with proxy(model=server.port) as proxied:
        with pytest.raises(h11.RemoteProtocolError):
            await ask(proxied)
        assert "broke off in the middle" in proxied.egress.faults.last.error
        await ask(proxied)
        await trio.testing.wait_all_tasks_blocked()
        assert proxied.egress.faults.last is None


async def test_time_of_an_answer_that_breaks_off_does_not_count(mock_clock):
    """It may have taken long. But the time that was waited before it counts on."""
    faults = ModelFaults(PATIENCE)
    assert faults.failed(FAULT)
    mock_clock.jump(PATIENCE / 2)
    faults.answering()
    mock_clock.jump(PATIENCE)
    assert faults.failed(FAULT)
    mock_clock.jump(PATIENCE / 2)
    assert not faults.failed(FAULT)


async def test_refusal_of_any_length_is_bounded(proxy, serve):
    """What is longer is no error of the Messages API, and is cut."""

    async def refuse_at_length(peer, request, server):
        await peer.body()
        await peer.answer(500, b"x" * (MAX_ERROR + 1))

    server = await serve(refuse_at_length)
    async with proxy(model=server.port) as proxied:
        status, headers, body = await ask(proxied)
    assert (500, MAX_ERROR) == (status, len(body))
    assert str(MAX_ERROR) == headers["content-length"]


class NoConnection:
    """An upstream whose connection does not come about in time."""

    endpoint, is_anthropic, headers = "http://gw", False, ()

    @asynccontextmanager
    async def call(self, request, chunk, headers):
        raise Unreachable("too late", cause="no connection within 15 s", timed_out=True)
        yield


async def test_connection_that_does_not_come_about_is_told_as_that(proxy):
    """It is not the endpoint that is silent."""
    async with proxy() as proxied:
        proxied.egress._upstream = NoConnection()
        await ask(proxied)
        error = proxied.egress.faults.last.error
    assert error.startswith("The model endpoint http://gw can't be reached: no connection within")


async def test_name_that_is_not_known_is_told_in_the_system_s_words(proxy, monkeypatch):
    """Look-ups have error numbers of their own."""

    async def fail(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("trio.socket.getaddrinfo", fail)
    async with proxy() as proxied, ModelUpstream("http://gw.test", []) as upstream:
        proxied.egress._upstream = upstream
        await ask(proxied)
        assert "can't be reached: name or service not known." in proxied.egress.faults.last.error


async def test_silence_without_a_limit_is_waited_out(proxy, serve):
    """A limit of 0 is none."""

    async def slow(peer, request, server):
        await peer.body()
        await trio.sleep(0.05)
        await peer.answer(200, MESSAGE)

    server = await serve(slow)
    url = f"http://127.0.0.1:{server.port}"
    async with proxy() as proxied, ModelUpstream(url, [], silence=0) as upstream:
        proxied.egress._upstream = upstream
        assert 200 == (await ask(proxied))[0]


async def test_other_calls_are_no_faults_of_the_turn(proxy, serve):
    """An endpoint need not count tokens; the turn does not depend on it."""
    server = await serve(partial(refuse, status=404))
    async with proxy(model=server.port) as proxied:
        await proxied.ask("POST", "/v1/messages/count_tokens", body=b"{}")
        assert proxied.egress.faults.last is None


async def test_secret_that_the_endpoint_repeats_is_not_told(proxy, serve):
    """What is quoted was searched for the key before."""
    server = await serve(partial(refuse, status=401, said=f"bad key {KEY}"))
    async with proxy(model=server.port) as proxied:
        await ask(proxied)
        assert KEY not in proxied.egress.faults.last.error


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b"[" * 9999, b"<html>", b'{"error":{}}'])
async def test_refusal_of_any_form_is_told(proxy, serve, body):
    """What is no error of the Messages API has its status."""

    async def refuse_so(peer, request, server):
        await peer.body()
        await peer.answer(503, body)

    server = await serve(refuse_so)
    async with proxy(model=server.port) as proxied:
        assert (503, body) == (await ask(proxied))[::2]
        assert "has failed (503): try again later" in proxied.egress.faults.last.error


async def test_calls_are_tried_again_for_so_long(mock_clock):
    """Up to the pause that would end after that time."""
    faults = ModelFaults(PATIENCE)
    tries = 0
    while faults.failed(FAULT):
        tries += 1
        mock_clock.jump(min(0.5 * 2.0**tries, 32))
    assert (7, True) == (tries, trio.current_time() < PATIENCE)


async def test_time_begins_anew_after_an_answer(mock_clock):
    """Faults that were overcome do not add up, nor do those of another turn."""
    faults = ModelFaults(PATIENCE)
    for overcome in (faults.answered, faults.begin):
        assert faults.failed(FAULT)
        mock_clock.jump(PATIENCE)
        assert not faults.failed(FAULT)
        overcome()


async def test_call_that_got_no_answer_for_long_is_not_tried_again(mock_clock):
    """The time that it has waited counts."""
    mock_clock.jump(300)
    assert not ModelFaults(PATIENCE).failed(FAULT, begun=0.0)


async def test_without_a_limit_the_cli_decides(mock_clock):
    """A limit of 0 is none."""
    faults = ModelFaults(0)
    for _ in range(20):
        assert faults.failed(FAULT)
        mock_clock.jump(60)


class Waiting:
    """A call that waits, and what is told of it."""

    def __init__(self):
        self.told = []
        faults = ModelFaults(PATIENCE)
        faults.tell = self.take
        request = h11.Request(method="POST", target="/v1/messages", headers=[("Host", "x")])
        self.call = ModelCall(request, ModelUpstream("http://gw", []), [], faults)

    async def take(self, fault):
        self.told.append((trio.current_time(), fault.error))


async def test_call_without_a_connection_is_told_at_once(autojump_clock, nursery):
    """Two seconds are long for a connection."""
    waiting = Waiting()
    nursery.start_soon(waiting.call.watch)
    await trio.sleep(CONNECT_SECONDS + 1)
    expected = "The model endpoint http://gw takes no connection yet, after 2 s"
    assert [(CONNECT_SECONDS, expected)] == waiting.told


async def test_call_without_an_answer_is_told_again_and_again(autojump_clock, nursery):
    """After twice the time each, and anew when something has come."""
    waiting = Waiting()
    waiting.call._connected = True
    nursery.start_soon(waiting.call.watch)
    await trio.sleep(5 * SILENT_SECONDS)
    assert [SILENT_SECONDS, 2 * SILENT_SECONDS, 4 * SILENT_SECONDS] == [
        at for at, _ in waiting.told
    ]
    assert "The model endpoint http://gw has sent nothing for 15 s" == waiting.told[0][1]
    waiting.call._heard_at = trio.current_time()
    await trio.sleep(4 * SILENT_SECONDS)
    assert 9 * SILENT_SECONDS == trio.current_time()
    assert "The model endpoint http://gw has sent nothing for 15 s" == waiting.told[3][1]
