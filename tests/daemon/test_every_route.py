"""What holds on every route: keys, errors, methods, CORS."""

import pytest

from tests.support.routes import API, requests, served

ROUTES = [*requests(), ("GET", "/api/nothing")]


async def test_routes_need_a_key(daemon):
    """Without a key that is known every route is a 401 that says what is missing."""
    for method, path in [route for route in ROUTES if route[1].startswith(API)]:
        for header, words in [
            (None, "Missing Authorization header"),
            ("Basic eA==", "must be: Bearer <key>"),
            ("Bearer wrong", "Invalid API key"),
        ]:
            headers = {"Authorization": header} if header else {}
            response = await daemon.nobody.request(method, path, headers=headers)
            assert (401, 401) == (response.status_code, response.json()["statusCode"])
            assert words in response.json()["error"], (method, path)
            assert "Bearer" == response.headers["www-authenticate"]
            assert "*" == response.headers["access-control-allow-origin"]


async def test_health_needs_no_key(daemon):
    """It tells that the server is well, how it isolates, and counts what lives."""
    response = await daemon.nobody.get("/health")
    health = response.json()
    assert (200, "ok") == (response.status_code, health["status"])
    assert {
        "version",
        "coordinatorId",
        "activeSessions",
        "activeSandboxes",
        "remoteRunners",
        "uptime",
        "pool",
    } <= health.keys()
    assert {"total", "warm", "running", "maxCapacity", "preWarmHits"} <= health["pool"].keys()
    assert "bubblewrap" in health["isolation"]["name"]
    assert isinstance(health["uptime"], int)


async def test_health_counts_what_lives(daemon, session):
    """A session that waits is one that is active."""
    health = (await daemon.us.get("/health")).json()
    assert (1, 1) == (health["activeSessions"], health["activeSandboxes"])
    assert (1, 0) == (health["pool"]["waiting"], health["pool"]["running"])
    await daemon.us.delete(f"/api/sessions/{session}")
    assert 0 == (await daemon.us.get("/health")).json()["activeSessions"]


async def test_answers_are_not_for_caches(daemon, session):
    """JSON that is right and JSON that is an error: no proxy may answer with it later."""
    for path in ("/health", "/api/agents", f"/api/sessions/{session}", "/api/nothing"):
        for asker in (daemon.us, daemon.nobody):
            response = await asker.get(path)
            assert "no-store" == response.headers["cache-control"], path
    for path in (f"/api/sessions/{session}/messages", "/api/sessions/x/messages"):
        response = await daemon.us.post(path, content=b"{")
        assert "no-store" == response.headers["cache-control"], path


async def test_answer_to_what_was_made_says_where_it_is(us):
    """`Location` is the path of the agent or session."""
    made = await us.post("/api/agents", json={"name": "other", "systemPrompt": "x"})
    assert "/api/agents/other" == made.headers["location"]
    made = await us.post("/api/sessions", json={"agent": "other"})
    path = made.headers["location"]
    assert made.json()["session"]["id"] == (await us.get(path)).json()["session"]["id"]
    await us.say(made.json()["session"]["id"], "hello")
    forked = await us.post(f"{path}/fork")
    assert f"/api/sessions/{forked.json()['session']['id']}" == forked.headers["location"]


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/api/agents/a/b/c", "/%2e%2e"])
async def test_unknown_route_is_not_found(us, path):
    """An error like all others, and readable for a browser."""
    response = await us.get(path)
    assert (404, 404) == (response.status_code, response.json()["statusCode"])
    assert "There is no route GET" in response.json()["error"]
    assert "*" == response.headers["access-control-allow-origin"]


async def test_wrong_method_tells_the_right_ones(us):
    """A 405 with `Allow`, on every route."""
    routes = served()
    # `check` could be an agent's name, too.
    routes["/api/agents/check"] |= routes["/api/agents/{}"]
    for path, methods in routes.items():
        response = await us.put(path.replace("{}", "x"))
        assert (405, 405) == (response.status_code, response.json()["statusCode"]), path
        assert methods == {*response.headers["allow"].split(", ")} - {"HEAD", "OPTIONS"}, path


async def test_slash_at_the_end_changes_nothing(us):
    """Every route is found with it: the same answer, without a redirect."""
    for method, path in requests():
        if path.endswith("/files/x"):
            continue  # there the slash is a part of the file's path
        plain, slashed = [await us.request(method, path + end, json={}) for end in ("", "/")]
        assert plain.status_code == slashed.status_code, (method, path)
        if "/x" in path:
            assert plain.content == slashed.content, (method, path)


async def test_body_that_is_no_json_is_refused(us):
    """Whatever its Content-Type says; a body of nothing is `{}`."""
    for path in ("/api/agents", "/api/sessions"):
        for content_type in ("application/json", "text/plain"):
            headers = {"Content-Type": content_type}
            response = await us.post(path, content=b"{no", headers=headers)
            assert 400 == response.status_code
            assert response.json()["error"].startswith("The body is not valid JSON")
            response = await us.post(path, content=b"", headers=headers)
            assert "this field is required" in response.json()["error"]


WITH_BODY = [
    ("POST", "/api/agents"),
    ("POST", "/api/sessions"),
    ("POST", "/api/sessions/{}/messages"),
    ("POST", "/api/sessions/{}/exec"),
    ("POST", "/api/sessions/{}/files"),
    ("POST", "/api/sessions/{}/fork"),
    ("PATCH", "/api/sessions/{}/config"),
]


async def test_body_that_is_compressed_is_refused(us, session):
    """In words, on every route that reads one, whatever the body is."""
    for method, path in WITH_BODY:
        headers = {"Content-Encoding": "identity, gzip"}
        response = await us.request(method, path.format(session), content=b"{}", headers=headers)
        assert (415, "identity") == (response.status_code, response.headers["accept-encoding"])
        expected = "Content-Encoding: gzip is not supported; send the body as it is"
        assert {"error": expected, "statusCode": 415} == response.json(), path


async def test_identity_is_no_encoding(us):
    """A client may say that it has not compressed the body."""
    response = await us.post("/api/agents", json={}, headers={"Content-Encoding": "Identity"})
    assert 400 == response.status_code


async def test_byte_order_mark_before_a_body_is_ignored(us, session):
    """On every route that reads a body the answer is that to the body without it."""
    for method, path in WITH_BODY:
        for body in (b"", b'{"content": 7, "files": 7, "model": 7, "afterSequence": "x"}'):
            if (path, body) == ("/api/sessions/{}/fork", b"") or (method, body) == ("PATCH", b""):
                continue  # these would change something
            plain, marked = [
                await us.request(method, path.format(session), content=mark + body)
                for mark in (b"", b"\xef\xbb\xbf")
            ]
            assert 400 == plain.status_code, path
            assert plain.json() == marked.json(), path


async def test_body_that_is_too_large_is_refused(us):
    """50 MB are the most where files or pictures may be in it, 1 MB on any other route."""
    for path, most in (
        ("/api/agents", 50),
        ("/api/agents/check", 50),
        ("/api/sessions/x/messages", 50),
        ("/api/sessions", 1),
        ("/api/sessions/x/exec", 1),
    ):
        response = await us.post(path, content=b" " * (most * 1024 * 1024 + 1))
        assert (413, 413) == (response.status_code, response.json()["statusCode"]), path


async def test_browser_asks_first(daemon):
    """A preflight is answered on every route, without a key."""
    for method, path in ROUTES:
        headers = {"Origin": "https://x.example", "Access-Control-Request-Method": method}
        response = await daemon.nobody.options(path, headers=headers)
        assert 204 == response.status_code
        assert method in response.headers["access-control-allow-methods"]


async def test_unexpected_failure_tells_nothing(daemon, monkeypatch):
    """A fault of ours is a 500 without a stack and without a path."""

    async def fail(*_args, **_kwargs):
        raise OSError(5, "I/O error", "/data/ash.db")

    monkeypatch.setattr("ash.store.Store.agents", fail)
    monkeypatch.setattr("ash.store.Store.session", fail)
    for method, path in [("GET", "/api/agents"), ("POST", "/api/sessions/x/messages")]:
        response = await daemon.us.request(method, path, json={"content": "x"})
        expected = "Unexpected failure: the server's log says more"
        assert {"error": expected, "statusCode": 500} == response.json()
        assert "*" == response.headers["access-control-allow-origin"]
