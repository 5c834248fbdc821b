"""Model calls through the proxy."""

import pytest
import trio

from ash.egress import ModelUpstream, credential_headers
from ash.errors import ConfigError
from tests.support.egress import KEY, said, whole

PLACEHOLDER = [("x-api-key", "placeholder"), ("Authorization", "Bearer placeholder")]


async def test_model_call_gets_the_real_key(proxy, serve):
    """The endpoint gets the daemon's key instead of the placeholder."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        status, _, body = await proxied.ask(
            "POST", "/v1/messages?beta=true", PLACEHOLDER, b'{"model":"m"}'
        )
    assert (200, b'{"ok":true}') == (status, body)
    assert KEY == server.headers["x-api-key"]
    assert "placeholder" not in str(server.asked)
    assert (b"POST", b"/v1/messages?beta=true") == (server.asked[0].method, server.asked[0].target)
    assert [b'{"model":"m"}'] == server.bodies


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("GET", "/v1/models/a"), ("HEAD", "/"), ("GET", "/")],
)
async def test_body_where_none_belongs_is_refused(proxy, serve, method, path):
    """It could become the start of another session's request on the same connection."""
    server = await serve(whole)
    smuggled = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n\r\n"
    async with proxy(model=server.port) as proxied:
        status, _, _ = await proxied.ask(method, path, PLACEHOLDER, smuggled)
    assert (403, []) == (status, server.asked)


async def test_model_call_goes_below_the_base_url_with_custom_headers(proxy, serve):
    """The base URL's path is prepended, and custom headers replace the client's."""
    server = await serve(whole)
    custom = "Authorization: Bearer gateway-secret\nAnthropic-Beta: ours"
    async with proxy(model=server.port, path="/gateway/", custom=custom) as proxied:
        await proxied.ask(
            "POST", "/v1/messages", [*PLACEHOLDER, ("anthropic-beta", "theirs")], b"{}"
        )
    assert b"/gateway/v1/messages" == server.asked[0].target
    assert "Bearer gateway-secret" == server.headers["authorization"]
    assert [b"ours"] == [value for name, value in server.asked[0].headers if b"beta" in name]


async def test_model_call_takes_along_only_headers_of_the_api(proxy, serve):
    """Headers that could change path, sender or hop are removed."""
    server = await serve(whole)
    headers = [
        ("anthropic-version", "2023-06-01"),
        ("x-stainless-lang", "js"),
        ("user-agent", "cli"),
        ("cookie", "a=b"),
        ("x-original-url", "/v1/files"),
        ("x-http-method-override", "DELETE"),
        ("x-forwarded-for", "10.0.0.1"),
        ("proxy-authorization", "Basic eA=="),
        ("te", "trailers"),
        ("connection", "keep-alive, x-app"),
        ("x-app", "cli"),
        ("accept-encoding", "gzip"),
    ]
    async with proxy(model=server.port) as proxied:
        await proxied.ask("POST", "/v1/messages", headers, b"{}")
    expected = {
        "host": f"127.0.0.1:{server.port}",
        "anthropic-version": "2023-06-01",
        "x-stainless-lang": "js",
        "user-agent": "cli",
        "content-length": "2",
        "x-api-key": KEY,
        "accept-encoding": "identity",
    }
    assert expected == server.headers


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v1/messages/count_tokens"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models?limit=5"),
        ("GET", "/v1/models/claude-opus-4@20250514"),
        ("GET", "/"),
        ("HEAD", "/"),
    ],
)
async def test_model_call_of_the_fixed_set_passes(proxy, serve, method, target):
    """Messages, counting, models and probes reach the endpoint unchanged."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        status, _, _ = await proxied.ask(method, target)
    assert 200 == status
    assert (method.encode(), target.encode()) == (server.asked[0].method, server.asked[0].target)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/messages"),
        ("DELETE", "/v1/messages"),
        ("TRACE", "/"),
        ("OPTIONS", "/v1/messages"),
        ("GET", "/v1/files"),
        ("GET", "/v1/messages/batches"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/organizations/api_keys"),
        ("POST", "/v1/messages/"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/messages/../files"),
        ("POST", "/v1/messages%2f..%2ffiles"),
        ("POST", "/v1/%6dessages"),
        ("POST", "/v1/messages#x"),
        ("POST", "/v1/messages;x"),
        ("GET", "/v1/models/.."),
        ("GET", "/v1/models/a/b"),
        ("GET", "/v1/models/%2e%2e"),
    ],
)
async def test_model_call_outside_of_the_set_is_refused(proxy, serve, method, target):
    """Any other request is a logged 403 and does not reach the endpoint."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        answer = await proxied.ask(method, target)
    assert 403 == answer[0]
    assert f"{method} {target.partition('?')[0]} is not a model call" in said(answer)
    assert [("system", f"network: {said(answer)}")] == proxied.log
    assert [] == server.asked


async def test_model_call_under_none_is_refused(proxy, serve):
    """`network = "none"` refuses model calls too."""
    server = await serve(whole)
    async with proxy("none", server.port) as proxied:
        answer = await proxied.ask("POST", "/v1/messages", body=b"{}")
    assert 403 == answer[0]
    assert 'network is "none"' in said(answer)
    assert [] == server.asked


async def test_answer_passes_status_and_headers(proxy, serve):
    """Status and headers are passed on, except hop-by-hop headers and cookies."""

    async def limited(peer, request, server):
        await peer.body()
        headers = [
            ("retry-after", "7"),
            ("request-id", "req_1"),
            ("set-cookie", "session=daemon"),
            ("keep-alive", "timeout=5"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
        ]
        await peer.answer(429, b"slow down", headers)

    server = await serve(limited)
    async with proxy(model=server.port) as proxied:
        status, headers, body = await proxied.ask("POST", "/v1/messages", body=b"{}")
    assert (429, b"slow down") == (status, body)
    assert {"content-length": "9", "retry-after": "7", "request-id": "req_1"} == headers


async def test_answer_that_repeats_the_key_comes_without_it(proxy, serve):
    """The key is replaced by asterisks wherever the endpoint repeats it."""

    async def mirror(peer, request, server):
        body = repr(request.headers).encode()
        await peer.answer(401, body, [("x-you-sent", KEY), ("www-authenticate", f"Key {KEY}")])

    server = await serve(mirror)
    custom = "X-Gateway-Token: another-secret"
    async with proxy(model=server.port, custom=custom) as proxied:
        status, headers, body = await proxied.ask("POST", "/v1/messages", body=b"{}")
    assert 401 == status
    assert "*" * len(KEY) == headers["x-you-sent"]
    assert b"x-api-key" in body
    for secret in (KEY, "another-secret"):
        assert secret not in str(headers)
        assert secret.encode() not in body


async def test_redirect_is_neither_followed_nor_passed_on(proxy, serve):
    """A redirect does not send the key elsewhere, and the CLI can't follow it either."""
    elsewhere = await serve(whole)

    async def redirect(peer, request, server):
        location = f"http://127.0.0.1:{elsewhere.port}/?key={KEY}"
        await peer.answer(307, b"", [("location", location)])

    server = await serve(redirect)
    async with proxy(model=server.port) as proxied:
        status, headers, _ = await proxied.ask("POST", "/v1/messages", body=b"{}")
    assert (502, "false") == (status, headers["x-should-retry"])
    assert "location" not in headers
    assert [] == elsewhere.asked


async def test_cookies_of_the_endpoint_are_not_kept(proxy, serve):
    """A cookie from one session's answer is not sent with another's request."""

    async def cookie(peer, request, server):
        await peer.answer(200, b"", [("set-cookie", "a=b; Path=/")])

    server = await serve(cookie)
    async with proxy(model=server.port) as proxied:
        await proxied.ask("GET", "/v1/models")
        await proxied.ask("GET", "/v1/models")
        assert [] == list(proxied.egress._upstream._client.cookies.jar)
    assert "cookie" not in server.headers


async def test_answer_in_an_encoding_is_an_error(proxy, serve):
    """A compressed answer, which could hide the key, is an error."""

    async def compressed(peer, request, server):
        await peer.answer(200, b"\x1f\x8b", [("content-encoding", "gzip")])

    server = await serve(compressed)
    async with proxy(model=server.port) as proxied:
        answer = await proxied.ask("GET", "/v1/models")
    assert (502, "The model endpoint answers in a way it was not asked to") == (
        answer[0],
        said(answer),
    )


async def test_endpoint_that_is_down_is_a_502_with_words(proxy, listen):
    """What the sandbox gets contains neither the address nor the key; the log has the address."""

    async def nothing(stream):
        await stream.aclose()

    port = await listen(nothing)
    for model, words in [(1, "can't be reached"), (port, "broke off")]:
        async with proxy(model=model) as proxied:
            answer = await proxied.ask("POST", "/v1/messages", body=b"{}")
        assert 502 == answer[0]
        assert f"The model endpoint {words}" == said(answer)
        (_, line), *more = proxied.log
        assert [] == more
        assert line.startswith("network: The model endpoint")
        assert words in line
        assert f"http://127.0.0.1:{model}" in line


async def test_endpoint_that_says_nothing_is_a_502_in_time(proxy, serve, autojump_clock):
    """An endpoint that never answers is an error in bounded time."""

    async def silent(peer, request, server):
        await trio.sleep_forever()

    server = await serve(silent)
    async with proxy(model=server.port) as proxied:
        answer = await proxied.ask("GET", "/v1/models")
    assert (502, "The model endpoint does not answer in time") == (answer[0], said(answer))


async def test_connections_to_the_endpoint_are_shared(proxy, serve):
    """One connection to the endpoint serves several connections from inside one sandbox."""
    opened = []

    async def count(peer, request, server):
        opened.append(peer)
        await whole(peer, request, server)

    server = await serve(count)
    async with proxy(model=server.port) as proxied:
        for _ in range(3):
            await proxied.ask("POST", "/v1/messages", body=b"{}")
    assert 3 == len(opened)
    assert 1 == len(set(opened))


async def test_new_policy_and_credentials_hold_for_new_requests(proxy, serve):
    """A new policy and key apply to the next request, also on an open connection."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        inside = await proxied.inside()
        await inside.ask("GET", "/v1/models")
        proxied.egress.headers = credential_headers({"ANTHROPIC_API_KEY": "sk-of-the-session"})
        inside.http.start_next_cycle()
        await inside.ask("GET", "/v1/models")
        proxied.egress.policy = proxied.egress.policy.__class__(model=False)
        inside.http.start_next_cycle()
        answer = await inside.ask("GET", "/v1/models")
    assert [KEY.encode(), b"sk-of-the-session"] == [
        dict(request.headers)[b"x-api-key"] for request in server.asked
    ]
    assert 403 == answer[0]


def test_base_url_with_a_password_is_refused():
    """A password in the URL is refused, because URLs get into errors."""
    with pytest.raises(ConfigError) as error:
        ModelUpstream("https://user:hidden@gateway", [])
    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://gw?a=b", "anything behind ? or #"),
        ("http://gw/x#y", "anything behind ? or #"),
        ("http://", "must be an address"),
        ("https://gw/v1", "set it to https://gw"),
        ("https://gw/anthropic/v1/", "set it to https://gw/anthropic"),
    ],
)
def test_base_url_that_calls_can_t_be_added_to_is_refused(url, words):
    """The path of each call is added to the base URL, so nothing may stand where it goes."""
    with pytest.raises(ConfigError, match=r"^anthropic_base_url must") as error:
        ModelUpstream(url, [])
    assert words in str(error.value)


async def test_beta_of_a_subscription_s_token_is_added_to_those_of_the_request(proxy, serve):
    """The CLI's own betas stay, and the token is a bearer."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        proxied.egress.headers = credential_headers({"CLAUDE_CODE_OAUTH_TOKEN": "a-long-token"})
        await proxied.ask("POST", "/v1/messages", [("Anthropic-Beta", "mine,other")], b"{}")
    assert "mine,other,oauth-2025-04-20" == server.headers["anthropic-beta"]
    assert "Bearer a-long-token" == server.headers["authorization"]
    assert "x-api-key" not in server.headers


async def test_traffic_is_counted(proxy, serve):
    """Calls, refusals and bytes of bodies are counted."""
    server = await serve(whole)
    async with proxy(model=server.port) as proxied:
        await proxied.ask("POST", "/v1/messages", body=b"12345")
        await proxied.ask("GET", "/v1/files")
        traffic = proxied.egress.traffic
    assert (1, 1, 5) == (traffic.model_calls, traffic.refused, traffic.sent)
    assert traffic.received > len(b'{"ok":true}')
