"""The routes of sessions, over a real connection and in a real sandbox."""

import re
from base64 import b64encode
from uuid import uuid4

import pytest

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_session_is_active_when_it_is_there(us, agent):
    """All promised fields are there, and what was asked for in `config`."""
    body = {"agent": "helper", "model": "m", "allowedTools": ["Bash"], "colour": "red"}
    response = await us.post("/api/sessions", json=body)
    session = response.json()["session"]
    assert (201, "active") == (response.status_code, session["status"])
    assert UUID.fullmatch(session["id"])
    assert {
        "tenantId": "default",
        "agentName": "helper",
        "runnerId": None,
        "parentSessionId": None,
        "model": "m",
        "config": {"allowedTools": ["Bash"]},
    }.items() <= session.items()
    assert {"session": session} == (await us.get(f"/api/sessions/{session['id']}")).json()


async def test_rule_for_an_unknown_tool_is_named_in_the_warnings(us, agent):
    """When the session is made, and when its rules change; the rule of a typo is refused."""
    said = 'disallowedTools: the rule "Teleport" may not match: there is no tool Teleport'
    body = {"agent": "helper", "disallowedTools": ["Teleport"]}
    made = await us.post("/api/sessions", json=body)
    assert (201, [said]) == (made.status_code, made.json()["warnings"])
    route = f"/api/sessions/{made.json()['session']['id']}/config"
    changed = await us.patch(route, json={"disallowedTools": ["Teleport"]})
    assert (200, [said]) == (changed.status_code, changed.json()["warnings"])
    for rules in (["bash"], ["Bash(rm"]):
        assert 400 == (await us.patch(route, json={"disallowedTools": rules})).status_code
        refused = await us.post("/api/sessions", json={**body, "disallowedTools": rules})
        assert 400 == refused.status_code


async def test_mistyped_parameter_of_a_query_is_refused(us, agent):
    """On each route that has some. One that is like none of them is ignored."""
    session = f"/api/sessions/{await us.create()}"
    for method, route, typo, meant in [
        ("GET", "/api/sessions", "agnt", "agent"),
        ("GET", f"{session}/messages", "Limit", "limit"),
        ("GET", f"{session}/events", "aftr", "after"),
        ("GET", f"{session}/logs", "aftre", "after"),
        ("GET", f"{session}/files", "include_hidden", "includeHidden"),
        ("GET", f"{session}/files/x", "fromat", "format"),
        ("GET", f"{session}/stream", "afer", "after"),
        ("POST", f"{session}/fork", "when_busy", "whenBusy"),
        ("POST", f"{session}/messages", "onDisconect", "onDisconnect"),
    ]:
        answer = await us.request(method, f"{route}?{typo}=interrupt&_=1", json={"content": "x"})
        error = f'unknown parameter "{typo}"; did you mean "{meant}"?'
        assert (400, error) == (answer.status_code, answer.json()["error"])
    assert 200 == (await us.get("/api/sessions?_=1&colour=red")).status_code


async def test_sessions_are_listed_a_page_at_a_time(us, agent):
    """Newest first, filtered, with the count of all pages."""
    await us.deploy("other")
    ids = [await us.create(), await us.create("other"), await us.create()]
    await us.delete(f"/api/sessions/{ids[0]}")

    async def listed(**query):
        page = (await us.get("/api/sessions", params=query)).json()
        return [session["id"] for session in page["sessions"]], page["total"]

    assert (ids[::-1], 3) == await listed()
    assert ([ids[1]], 3) == await listed(limit=1, offset=1)
    assert ([ids[2], ids[0]], 2) == await listed(agent="helper")
    assert ([ids[0]], 1) == await listed(status="ended")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=0", 'limit: expected a whole number from 1 to 1000, got "0"'),
        ("limit=many", 'limit: expected a whole number from 1 to 1000, got "many"'),
        ("offset=-1", "offset: expected a whole number from 0"),
        ("status=happy", "status: expected one of starting, active, paused"),
    ],
)
async def test_query_that_does_not_fit_is_refused(us, query, words):
    """The error names the parameter and its range."""
    response = await us.get(f"/api/sessions?{query}")
    assert 400 == response.status_code
    assert response.json()["error"].startswith(words)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({}, 400, "agent: this field is required"),
        ({"agent": "nobody"}, 404, 'There is no agent "nobody"'),
        ({"agent": "helper", "permissionMode": "x"}, 400, "permissionMode: expected one of"),
        ({"agent": "helper", "extraEnv": {"A": "x\0"}}, 400, "extraEnv"),
        ({"agent": "helper", "mcpServers": {"x": {}}}, 400, "mcpServers.x: give exactly one"),
    ],
)
async def test_what_is_no_session_is_refused(us, agent, body, status, words):
    """The error names the field; there is no session of it."""
    response = await us.post("/api/sessions", json=body)
    assert (status, status) == (response.status_code, response.json()["statusCode"])
    assert response.json()["error"].startswith(words)
    assert 0 == (await us.get("/api/sessions")).json()["total"]


async def test_ended_session_keeps_its_history(us, session):
    """Ending is for good, may be asked for twice, and takes nothing away."""
    await us.say(session, "hello")
    for _ in range(2):
        response = await us.delete(f"/api/sessions/{session}")
        assert (200, "ended") == (response.status_code, response.json()["session"]["status"])
    assert "user" == (await us.history(session))[0]["role"]
    said = await us.post(f"/api/sessions/{session}/messages", json={"content": "again"})
    words = "Session is ended: create another one"
    assert (400, words) == (said.status_code, said.json()["error"])
    actions = [each["data"] for each in await us.history(session, "events")]
    assert '{"action":"created"}' in actions
    assert '{"action":"ended"}' in actions


async def test_history_is_read_by_sequence(us, session):
    """Messages and timeline are numbered without holes, and read on from any number."""
    for text in ("one", "two"):
        await us.say(session, text)
    for kind in ("messages", "events"):
        rows = await us.history(session, kind)
        assert list(range(1, len(rows) + 1)) == [row["sequence"] for row in rows]
        response = await us.get(f"/api/sessions/{session}/{kind}?after=2&limit=1")
        assert rows[2:3] == response.json()[kind]
    texts = (await us.get(f"/api/sessions/{session}/events?type=text")).json()["events"]
    assert ['{"text":"echo: one"}', '{"text":"echo: two"}'] == [row["data"] for row in texts]
    users = [row["content"] for row in await us.history(session) if row["role"] == "user"]
    assert ['{"type":"user","content":"one"}', '{"type":"user","content":"two"}'] == users


async def test_log_is_read_by_index(us, session):
    """The log tells how the sandbox started, line by line."""
    lines = (await us.get(f"/api/sessions/{session}/logs")).json()
    assert "sandbox" == lines["source"]
    assert {"index", "level", "text", "ts"} == lines["logs"][0].keys()
    assert "started: bridge" in lines["logs"][-1]["text"]
    last = lines["logs"][-1]["index"]
    assert [] == (await us.get(f"/api/sessions/{session}/logs?after={last}")).json()["logs"]


async def test_session_that_can_not_start_says_why(us):
    """The session stays as `error`, and the answer says where its log is."""
    script = b64encode(b"echo no such package >&2; exit 3").decode()
    prompt = b64encode(b"be kind").decode()
    files = [
        {"path": "CLAUDE.md", "content": prompt},
        {"path": "install.sh", "content": script},
    ]
    await us.deploy("broken", systemPrompt=None, files=files)
    response = await us.post("/api/sessions", json={"agent": "broken"})
    (session,) = (await us.get("/api/sessions")).json()["sessions"]
    assert (502, "error") == (response.status_code, session["status"])
    log = f"/api/sessions/{session['id']}/logs"
    assert (
        f"install.sh failed (3): no such package (its log: GET {log})" == response.json()["error"]
    )
    lines = (await us.get(log)).json()
    assert "snapshot" == lines["source"]
    assert ("stderr", "no such package") in [(li["level"], li["text"]) for li in lines["logs"]]


ROUTES = [
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/messages"),
    ("GET", "/events"),
    ("GET", "/logs"),
    ("POST", "/messages"),
    ("POST", "/exec"),
]


@pytest.mark.parametrize("other", ["theirs", "unknown", "no UUID"])
async def test_session_that_is_not_ours_is_not_there(daemon, session, other):
    """Another tenant's session, one that never was and what is no id: the same 404, everywhere."""
    client = daemon.them if other == "theirs" else daemon.us
    asked = {"theirs": session, "unknown": str(uuid4()), "no UUID": "nonsense"}[other]
    for method, route in ROUTES:
        body = {"content": "hi", "command": "true"} if method == "POST" else None
        response = await client.request(method, f"/api/sessions/{asked}{route}", json=body)
        expected = {"error": f'There is no session "{asked}"', "statusCode": 404}
        assert (404, expected) == (response.status_code, response.json()), (method, route)
    assert "active" == await daemon.us.status(session)
    assert 0 == (await daemon.them.get("/api/sessions")).json()["total"]
