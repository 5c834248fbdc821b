"""The stub model over real HTTP, used as by an SDK's client."""

import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
import trio

from ash.testing import Cut, Fail, Hang, Request, Say, StubModel


@pytest.fixture
async def model() -> AsyncIterator[StubModel]:
    async with StubModel() as model:
        yield model


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        yield client


def _body(*texts: str, **fields: Any) -> dict[str, Any]:
    """A conversation of these texts, each but the last one answered."""
    messages = []
    for text in texts:
        messages += [_message("user", text), _message("assistant", "answer")]
    return {"model": "some-model", "max_tokens": 100, "messages": messages[:-1], **fields}


def _message(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _tools(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


async def _ask(client: httpx.AsyncClient, model: StubModel, *texts: str, **fields: Any) -> Any:
    response = await client.post(f"{model.url}/v1/messages", json=_body(*texts, **fields))
    return response.json()


async def _events(client: httpx.AsyncClient, model: StubModel, text: str, **fields: Any) -> Any:
    body = _body(text, stream=True, **fields)
    response = await client.post(f"{model.url}/v1/messages", json=body)
    assert "text/event-stream; charset=utf-8" == response.headers["content-type"]
    frames = response.text.removesuffix("\n\n").split("\n\n")
    events = []
    for frame in frames:
        kind, data = frame.split("\n", 1)
        events.append(msgspec.json.decode(data.removeprefix("data: ")))
        assert f"event: {events[-1]['type']}" == kind
    return events


async def test_answer_is_a_message_of_the_api(client, model) -> None:
    """Without `stream` the answer is one message with its usage."""
    answer = await _ask(client, model, "hello")
    assert answer.pop("id").startswith("msg_")
    assert {
        "type": "message",
        "role": "assistant",
        "model": "some-model",
        "content": [{"type": "text", "text": "echo: hello"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 2,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 3,
        },
    } == answer


async def test_streamed_answer_has_the_events_in_order(client, model) -> None:
    """A streamed answer has the API's events in their order."""
    events = await _events(client, model, "BURST: 3")
    assert [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == [event["type"] for event in events]
    assert "tick0 tick1 tick2 " == "".join(event["delta"]["text"] for event in events[2:5])
    assert "end_turn" == events[6]["delta"]["stop_reason"]
    assert 5 == events[6]["usage"]["output_tokens"]


async def test_thinking_is_a_signed_block_before_the_text(client, model) -> None:
    """Thinking is a block before the text, and its signature a delta of its own."""
    events = await _events(client, model, "THINK: hard")
    deltas = [event["delta"] for event in events if event["type"] == "content_block_delta"]
    assert [
        "thinking_delta",
        "signature_delta",
        "text_delta",
        "text_delta",
    ] == [delta["type"] for delta in deltas]
    assert "hard" == deltas[0]["thinking"]
    assert deltas[1]["signature"]
    assert [0, 1] == [e["index"] for e in events if e["type"] == "content_block_start"]


async def test_bash_is_a_call_of_the_tool(client, model) -> None:
    """BASH is a tool call whose input is a JSON delta; the model stops for the result."""
    events = await _events(client, model, "BASH: ls ü", tools=_tools("Bash"))
    block = events[1]["content_block"]
    assert ("tool_use", "Bash", {}) == (block["type"], block["name"], block["input"])
    assert {"command": "ls ü"} == msgspec.json.decode(events[2]["delta"]["partial_json"])
    assert "tool_use" == events[4]["delta"]["stop_reason"]


@pytest.mark.parametrize(
    ("text", "tool"), [("BASH: ls", "Bash"), ("CRASH", "Bash"), ("WRITE: a b", "Write")]
)
async def test_tool_that_is_not_offered_is_answered_with_text(text, tool, client, model) -> None:
    """A call of a tool that is not offered becomes a text, so that tests can see it."""
    answer = await _ask(client, model, text, tools=_tools("Read"))
    assert f"tool {tool} is not offered" == answer["content"][0]["text"]


@pytest.mark.parametrize("place", ["system", "system blocks", "message"])
async def test_write_goes_to_the_folder_that_the_cli_names(place, client, model) -> None:
    """A relative path is made absolute with the CLI's working directory."""
    told = "# Environment\n - Primary working directory: /some/folder\n - Platform: linux"
    body = _body("WRITE: sub/a.txt text of it", tools=_tools("Write"))
    if place == "message":
        body["messages"].append(_message("system", told))
    else:
        body["system"] = told if place == "system" else [{"type": "text", "text": told}]
    answer = (await client.post(f"{model.url}/v1/messages", json=body)).json()
    expected = {"file_path": "/some/folder/sub/a.txt", "content": "text of it"}
    assert expected == answer["content"][0]["input"]


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ({"content": "out"}, "done: out"),
        ({"content": "Exit code 1", "is_error": True}, "failed: Exit code 1"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "done: a\nb"),
        ({}, "done: "),
    ],
)
async def test_tool_result_is_answered_with_text(result, expected, client, model) -> None:
    """A tool result, also with reminders after it, is answered with a text."""
    block = {"type": "tool_result", "tool_use_id": "t", **result}
    reminder = {"type": "text", "text": "<system-reminder>be good</system-reminder>"}
    body = _body("BASH: ls", "x", tools=_tools("Bash"))
    body["messages"][-1] = _message("user", [block, reminder])
    answer = (await client.post(f"{model.url}/v1/messages", json=body)).json()
    assert expected == answer["content"][0]["text"]


async def test_text_after_a_tool_result_counts(client, model) -> None:
    """A user's text after a tool result is answered instead of the result."""
    texts = ["[Request interrupted by user for tool use]\n", "hello"]
    blocks = [{"type": "tool_result", "tool_use_id": "t", "content": "stopped"}]
    blocks += [{"type": "text", "text": text} for text in texts]
    body = _body("BASH: ls", "x")
    body["messages"][-1] = _message("user", blocks)
    answer = (await client.post(f"{model.url}/v1/messages", json=body)).json()
    assert "echo: hello" == answer["content"][0]["text"]


async def test_recall_lists_the_users_texts(client, model) -> None:
    """RECALL lists only the user's texts, without those of the CLI."""
    texts = ["<system-reminder>x</system-reminder>\n", "two\n", "three\n", "RECALL"]
    body = _body("one", "x")
    body["messages"][-1] = _message("user", [{"type": "text", "text": text} for text in texts])
    answer = (await client.post(f"{model.url}/v1/messages", json=body)).json()
    assert '["one","two","three","RECALL"]' == answer["content"][0]["text"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(400, "invalid_request_error"), (429, "rate_limit_error"), (500, "api_error")],
)
async def test_fail_is_an_error_of_the_api(code, kind, client, model) -> None:
    """FAIL is an error of the API with the header that forbids a retry."""
    body = _body(f"FAIL: {code}", stream=True)
    response = await client.post(f"{model.url}/v1/messages", json=body)
    assert code == response.status_code
    assert "error" == response.json()["type"]
    assert kind == response.json()["error"]["type"]
    assert "false" == response.headers["x-should-retry"]


async def test_count_tokens_counts_the_users_texts(client, model) -> None:
    """Counting tokens follows the same rule as usage."""
    body = _body("hello", "again")
    response = await client.post(f"{model.url}/v1/messages/count_tokens", json=body)
    assert {"input_tokens": 4} == response.json()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/hello"])
async def test_probe_is_answered(method, path, client, model) -> None:
    """The CLI's GET and HEAD probes are answered with 200."""
    response = await client.request(method, f"{model.url}{path}")
    assert 200 == response.status_code


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/other"), ("PUT", "/v1/messages")])
async def test_unknown_route_is_a_404(method, path, client, model) -> None:
    """An unknown route is a 404 in the API's form."""
    response = await client.request(method, f"{model.url}{path}", json={})
    assert (404, "not_found_error") == (response.status_code, response.json()["error"]["type"])


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"no json", b"[]", b"{}", b'{"messages": 1}', b'{"messages": [{"role": "user"}]}'),
        b'{"messages": [{"role": "user", "content": [1]}]}',
    ],
)
async def test_body_that_is_no_request_is_a_400(body, client, model) -> None:
    """An invalid body is a 400, and the server goes on."""
    response = await client.post(f"{model.url}/v1/messages", content=body)
    assert 400 == response.status_code
    assert "echo: hello" == (await _ask(client, model, "hello"))["content"][0]["text"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"x-api-key": "wrong"}, 401),
        ({"authorization": "Bearer wrong"}, 401),
        ({"x-api-key": "right"}, 200),
        ({"authorization": "Bearer right"}, 200),
    ],
)
async def test_expected_key_is_asked_for(headers, status, client) -> None:
    """A request without the expected key in either header is refused."""
    async with StubModel(expect_key="right") as model:
        url = f"{model.url}/v1/messages"
        assert status == (await client.post(url, json=_body("hi"), headers=headers)).status_code


async def test_requests_are_recorded(client, model) -> None:
    """Requests are recorded in order."""
    await client.get(f"{model.url}/")
    await _ask(client, model, "one", "two", system="be brief", tools=_tools("Read", "Bash"))
    probe, request = model.requests
    assert ("GET", "/") == (probe.method, probe.path)
    assert ("POST", "/v1/messages") == (request.method, request.path)
    assert "be brief" == request.body["system"]
    assert ["one", "two"] == request.texts
    assert "two" == request.text
    assert ["Read", "Bash"] == request.tools


@pytest.mark.parametrize("header", ["X-Api-Key", "Authorization"])
async def test_recorded_request_does_not_show_a_key(header, client, model) -> None:
    """A request's repr hides the key, which its headers still have."""
    await client.get(model.url, headers={header: "secret-value"})
    assert "secret-value" == model.requests[0].headers[header.lower()]
    assert "secret-value" not in repr(model.requests)


async def test_own_rule_answers_first(client) -> None:
    """A rule may return a text, an answer, or None for the script's."""

    answers: dict[str, Say | Fail | str]
    answers = {"text": "a text", "say": Say(("an ", "answer")), "fail": Fail(402)}

    def rule(request: Request) -> Say | Fail | str | None:
        return answers.get(request.text)

    async with StubModel(answer=rule) as model:
        said = [await _ask(client, model, text) for text in ("text", "say", "fail", "other")]
    texts = [answer["content"][0]["text"] for answer in said if "content" in answer]
    assert ["a text", "an answer", "echo: other"] == texts
    assert "billing_error" == said[2]["error"]["type"]


async def test_rule_that_raises_is_an_error_of_the_request(client) -> None:
    """An error of a rule is the answer to its request, and the server goes on."""

    def rule(request: Request) -> str:
        raise ZeroDivisionError(f"at {request.text}")

    async with StubModel(answer=rule) as model:
        answers = [await _ask(client, model, "hello") for _ in range(2)]
    assert "the rule failed: ZeroDivisionError('at hello')" == answers[1]["error"]["message"]


async def _ask_for_slow(model: StubModel) -> trio.SocketStream:
    """A connection on which a slow answer has just begun."""
    stream = await trio.open_tcp_stream("127.0.0.1", int(model.url.rpartition(":")[2]))
    body = msgspec.json.encode(_body("SLOW: 2 600", stream=True))
    head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    await stream.send_all(head.encode() + body)
    return stream


async def test_first_delta_goes_out_at_once(model) -> None:
    """The head, the first events and the first delta are one write."""
    async with await _ask_for_slow(model) as stream:
        received = await stream.receive_some()
    assert received.startswith(b"HTTP/1.1 200")
    assert b"tick0" in received
    assert b"tick1" not in received


async def test_clients_do_not_wait_for_each_other(client, model) -> None:
    """A slow answer does not delay other clients."""
    async with await _ask_for_slow(model):
        assert "echo: hello" == (await _ask(client, model, "hello"))["content"][0]["text"]


async def test_body_of_megabytes_is_read_whole(client, model) -> None:
    """A request of megabytes is read completely."""
    text = "ü\u2028😀" * 500_000
    answer = await _ask(client, model, text)
    assert f"echo: {text}" == answer["content"][0]["text"]


async def test_listening_ends_with_the_context(client) -> None:
    """Leaving the context ends open connections and slow answers at once."""
    with trio.fail_after(5):
        async with StubModel() as model:
            stream = await _ask_for_slow(model)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")
        async with stream:
            while await stream.receive_some():
                pass
    with pytest.raises(httpx.ConnectError):
        await client.get(model.url)


async def test_error_of_the_body_comes_out_as_it_is() -> None:
    """An error in the context's body is not wrapped in a group."""
    with pytest.raises(ZeroDivisionError):
        async with StubModel():
            raise ZeroDivisionError


async def test_port_in_use_is_an_oserror(model) -> None:
    """A port in use raises OSError when the context is entered."""
    with pytest.raises(OSError, match="in use"):
        async with StubModel(port=int(model.url.rpartition(":")[2])):
            pass


async def test_rule_may_let_the_client_try_again(client: httpx.AsyncClient) -> None:
    """An error is final for the CLI, unless the rule says something else."""
    answers = iter([Fail(529), Fail(529, again=True, retry_after=3)])
    async with StubModel(answer=lambda _: next(answers)) as model:
        url = f"{model.url}/v1/messages"
        final, other = [await client.post(url, json=_body("hello")) for _ in range(2)]
    assert "false" == final.headers["x-should-retry"]
    assert "x-should-retry" not in other.headers
    assert "3" == other.headers["retry-after"]


async def test_rule_may_cut_the_stream(client: httpx.AsyncClient) -> None:
    """The stream ends behind its last delta, and not as HTTP has it."""
    async with StubModel(answer=lambda _: Cut(Say(("one ", "two")))) as model:
        body = _body("hello", stream=True)
        async with client.stream("POST", f"{model.url}/v1/messages", json=body) as response:
            chunks = response.aiter_raw()
            assert b'"two"' in await anext(chunks)
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)


async def test_rule_may_give_no_answer() -> None:
    """The request is recorded, and the client waits until it has had enough."""
    async with StubModel(answer=lambda _: Hang()) as model:
        with pytest.raises(httpx.ReadTimeout):
            async with httpx.AsyncClient(timeout=0.2, trust_env=False) as client:
                await client.post(f"{model.url}/v1/messages", json=_body("hello"))
        assert ["hello"] == [request.text for request in model.requests]


def test_thread_serves_programs_without_trio() -> None:
    """The thread ends with the context."""
    before = set(threading.enumerate())
    with StubModel.in_thread(answer=lambda request: request.text.upper()) as model:
        with httpx.Client(trust_env=False) as client:
            response = client.post(f"{model.url}/v1/messages", json=_body("hello"))
        assert "HELLO" == response.json()["content"][0]["text"]
        assert ["hello"] == model.requests[0].texts
    left = set(threading.enumerate()) - before
    assert "stub-model" not in [thread.name for thread in left]


def test_thread_that_cannot_listen_raises_in_its_caller() -> None:
    """An error of the thread's start is raised in the caller."""
    with StubModel.in_thread() as model:
        port = int(model.url.rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), StubModel.in_thread(port=port):
            pass


def test_module_serves_until_it_is_interrupted() -> None:
    """`python -m ash.testing` prints its URL and exits with 0 on SIGINT."""
    command = [sys.executable, "-m", "ash.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        with httpx.Client(trust_env=False) as client:
            response = client.post(f"{url}/v1/messages", json=_body("hello"))
        process.send_signal(signal.SIGINT)
        assert 0 == process.wait(10)
    assert "echo: hello" == response.json()["content"][0]["text"]


def test_module_says_that_its_port_is_in_use() -> None:
    """A port in use is one line and an exit code."""
    with StubModel.in_thread() as model:
        port = model.url.rpartition(":")[2]
        command = [sys.executable, "-m", "ash.testing", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert f"can't listen on port {port}: Address already in use\n" == done.stderr
