"""The commands `ash session …`: what they send and print."""

import json

import pytest

from ash.client.results import CommandResult

SESSION = {
    "id": "s1",
    "agentName": "hello",
    "status": "active",
    "createdAt": "2026-01-02T03:04:05.678Z",
    "lastActiveAt": "2026-01-02T03:04:06.000Z",
    "runnerId": None,
}
DONE = ("done", {"sessionId": "s1", "reason": "completed"})


def assistant(*texts, parent=None):
    blocks = [{"type": "text", "text": text} for text in texts]
    message = {"type": "assistant", "message": {"content": blocks}, "parent_tool_use_id": parent}
    return ("message", message)


def delta(text):
    return ("text_delta", {"delta": text})


def test_create(client_ash, server):
    """Creating prints only the id, for scripts; options become fields of the API."""
    server.sends("POST", "/api/sessions", {"session": SESSION}, 201)

    result = client_ash("session", "create", "hello", "--model", "m", "--system-prompt", "Be.")

    assert (result.exit_code, result.stdout) == (0, "s1\n")
    assert server.last_body == {"agent": "hello", "model": "m", "systemPrompt": "Be."}


def test_create_json(client_ash, server):
    """--json prints the session."""
    server.sends("POST", "/api/sessions", {"session": SESSION}, 201)

    assert json.loads(client_ash("session", "create", "hello", "--json").stdout) == SESSION


def test_list(client_ash, server):
    """Sessions are printed as a table, and filters go to the server."""
    path = "/api/sessions?agent=hello&status=active&limit=5"
    server.sends("GET", path, {"sessions": [SESSION], "total": 1})

    result = client_ash("session", "list", "--agent", "hello", "--status", "active", "--limit", "5")

    head, row = result.stdout.splitlines()
    assert head.split("  ")[0] == "ID"
    assert row == "s1  hello  active  2026-01-02T03:04:05.678Z  2026-01-02T03:04:06.000Z"


def test_get(client_ash, server):
    """A session is printed one field a line; an empty field is a dash."""
    server.sends("GET", "/api/sessions/s1", {"session": SESSION})

    assert "runnerId:     -" in client_ash("session", "get", "s1").stdout.splitlines()


def test_end(client_ash, server):
    """Ending prints the new status."""
    server.sends("DELETE", "/api/sessions/s1", {"session": {**SESSION, "status": "ended"}})

    assert client_ash("session", "end", "s1").stdout == "s1 ended\n"


@pytest.mark.parametrize(
    ("command", "status"), [("pause", "paused"), ("stop", "stopped"), ("resume", "active")]
)
def test_change(client_ash, server, command, status):
    """Pausing, stopping and resuming print the new status."""
    server.sends("POST", f"/api/sessions/s1/{command}", {"session": {**SESSION, "status": status}})

    assert client_ash("session", command, "s1").stdout == f"s1 {status}\n"


def test_resume_of_what_was_broken(client_ash, server):
    """What had to be mended is a warning on stderr."""
    session = {**SESSION, "memory": "partial", "warnings": ["The transcript is gone"]}
    server.sends("POST", "/api/sessions/s1/resume", {"session": session})

    assert "warning: The transcript is gone\n" == client_ash("session", "resume", "s1").stderr


def test_send_shows_what_was_broken(client_ash, server):
    """A `recovered` event is a warning on stderr."""
    server.streams("s1", ("recovered", {"memory": "lost", "warning": "It is gone"}), DONE)

    result = client_ash("session", "send", "s1", "hi")

    assert (0, "warning: It is gone\n") == (result.exit_code, result.stderr)


def test_fork(client_ash, server):
    """A fork prints only the new session's id, for scripts."""
    server.sends("POST", "/api/sessions/s1/fork", {"session": {**SESSION, "id": "s2"}}, 201)

    assert "s2\n" == client_ash("session", "fork", "s1").stdout
    assert {} == server.last_body


def test_fork_after_a_message(client_ash, server):
    """--after-sequence is sent, also 0; --json prints the session."""
    server.sends("POST", "/api/sessions/s1/fork", {"session": SESSION}, 201)

    result = client_ash("session", "fork", "s1", "--after-sequence", "0", "--json")

    assert SESSION == json.loads(result.stdout)
    assert {"afterSequence": 0} == server.last_body


def test_fork_of_a_busy_session(client_ash, server):
    """--when-busy is sent."""
    path = "/api/sessions/s1/fork?whenBusy=queue"
    server.sends("POST", path, {"session": {**SESSION, "id": "s2"}}, 201)

    assert "s2\n" == client_ash("session", "fork", "s1", "--when-busy", "queue").stdout


@pytest.mark.parametrize(
    ("interrupted", "said"), [(True, "interrupted\n"), (False, "no turn was running\n")]
)
def test_interrupt(client_ash, server, interrupted, said):
    """Interrupting prints whether a turn was running."""
    answer = {"interrupted": interrupted, "turn": "idle"}
    server.sends("POST", "/api/sessions/s1/interrupt", answer)

    assert client_ash("session", "interrupt", "s1").stdout == said


def test_config(client_ash, server):
    """Given settings are changed, named ones are reset, and others stay."""
    server.sends("PATCH", "/api/sessions/s1/config", {"session": SESSION})
    options = ("--model", "m", "--allowed-tool", "Bash", "--allowed-tool", "Read")

    result = client_ash("session", "config", "s1", *options, "--reset", "betas", "--json")

    assert json.loads(result.stdout) == SESSION
    assert server.last_body == {"model": "m", "allowedTools": ["Bash", "Read"], "betas": None}


def test_config_reset_of_no_setting(client_ash, server):
    """Resetting an unknown setting is an error, and nothing is sent."""
    result = client_ash("session", "config", "s1", "--reset", "allowed_tools")

    assert (2, []) == (result.exit_code, server.asked)


def test_config_without_anything(client_ash, server):
    """An empty change is an error, and nothing is sent."""
    result = client_ash("session", "config", "s1")

    assert (result.exit_code, result.stderr) == (1, "ash: there is nothing to change\n")
    assert server.asked == []


def test_send_body(client_ash, server):
    """Partial messages are requested; options become fields of the API."""
    server.streams("s1", DONE)

    client_ash(
        *("session", "send", "s1", "hi", "--model", "m", "--max-turns", "3"),
        *("--max-budget-usd", "0.5", "--effort", "low"),
    )

    assert server.last_body == {
        "content": "hi",
        "includePartialMessages": True,
        "model": "m",
        "maxTurns": 3,
        "maxBudgetUsd": 0.5,
        "effort": "low",
    }


def test_send_from_stdin(client_ash, server):
    """A dash reads the text from stdin."""
    server.streams("s1", DONE)

    client_ash("session", "send", "s1", "-", input="from\nstdin")

    assert server.last_body["content"] == "from\nstdin"


def test_send_nothing(client_ash, server):
    """An empty text is not sent."""
    result = client_ash("session", "send", "s1", "-", input=" \n")

    assert (result.exit_code, result.stderr) == (1, "ash: there is no text to send\n")
    assert server.asked == []


def test_send_prints_deltas(client_ash, server):
    """Text is printed from the deltas, and not again from the complete message."""
    server.streams(
        "s1",
        ("session_start", {"sessionId": "s1"}),
        delta("Hello "),
        delta("world"),
        assistant("Hello world"),
        DONE,
    )

    result = client_ash("session", "send", "s1", "hi")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "Hello world\n", "")


def test_send_without_deltas(client_ash, server):
    """Without deltas the text of the complete message is printed."""
    server.streams("s1", assistant("one"), delta("two"), assistant("two"), assistant("three"), DONE)

    assert client_ash("session", "send", "s1", "hi").stdout == "one\ntwo\nthree\n"


def test_send_subagent(client_ash, server):
    """Messages and deltas of subagents are not printed."""
    inner = ("text_delta", {"delta": "inner", "parentToolUseId": "t1"})
    server.streams("s1", inner, assistant("inner", parent="t1"), assistant("outer"), DONE)

    assert client_ash("session", "send", "s1", "hi").stdout == "outer\n"


def test_send_tool_call(client_ash, server):
    """A tool call is one line on stderr, and the text after it begins a new line."""
    call = {"id": "t", "name": "Bash", "input": {"command": "echo a\nb" + "x" * 500}}
    server.streams("s1", delta("Let me see"), ("tool_use", call), delta("Done"), DONE)

    result = client_ash("session", "send", "s1", "hi")

    assert result.stdout == "Let me see\nDone\n"
    assert result.stderr.startswith('→ Bash {"command": "echo a\\nbxxx')
    assert result.stderr.count("\n") == 1
    assert len(result.stderr) < 110


def test_send_names_mcp_servers_that_are_not_there(client_ash, server):
    """A line each on stderr, with the reason; those that are well are not named."""
    servers = [
        {"name": "well", "status": "connected"},
        {"name": "slow", "status": "pending"},
        {"name": "gone", "status": "failed", "error": "Connection closed"},
    ]
    server.streams("s1", ("mcp_status", {"servers": servers}), delta("Done"), DONE)

    result = client_ash("session", "send", "s1", "hi")

    assert "Done\n" == result.stdout
    said = "MCP server slow is pending\nMCP server gone is failed: Connection closed\n"
    assert said == result.stderr


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        ([("error", {"error": "the engine died"}), DONE], "error: the engine died\n"),
        ([("done", {"reason": "interrupted"})], "the turn ended early: interrupted\n"),
        ([("error", {"error": "x"}), ("done", {"reason": "error"})], "error: x\n"),
        (
            [("message", {"type": "result", "is_error": True, "result": "no credit"}), DONE],
            "error: no credit\n",
        ),
        (
            [
                ("message", {"type": "result", "is_error": True, "subtype": "x"}),
                ("done", {"reason": "shutdown"}),
            ],
            "the turn ended early: shutdown\n",
        ),
    ],
)
def test_send_turn_that_fails(client_ash, server, frames, error):
    """A failed turn has exit code 1 and its reason."""
    server.streams("s1", *frames)

    result = client_ash("session", "send", "s1", "hi")

    assert (1, error) == (result.exit_code, result.stderr)


def test_send_stream_that_can_not_be_joined_again(client_ash, server):
    """Without frame ids there is no reconnect: the printed text stays, and an error says so."""
    server.streams("s1", delta("half"))

    result = client_ash("session", "send", "s1", "hi")

    assert (1, "half\n") == (result.exit_code, result.stdout)
    assert result.stderr == (
        f"ash: the connection to {server.url} broke off: it ended early, and no frame had an id"
        " to go on from; the turn may go on\n"
    )


def test_send_comes_back(client_ash, server, soon):
    """A reconnect is reported once on stderr, and nothing is printed twice."""
    frames = [server.sse(*delta("one "), 7), b"id: 8\nevent: text_delta\ndata: {"]
    rest = [server.sse(*frame, 8 + n) for n, frame in enumerate([delta("two"), DONE])]
    server.sends("POST", "/api/sessions/s1/messages?resume=auto", frames)
    server.sends("GET", "/api/sessions/s1/stream?after=7", rest)

    result = client_ash("session", "send", "s1", "hi")

    assert (0, "one two\n") == (result.exit_code, result.stdout)
    assert result.stderr == (
        f"the connection to {server.url} broke off: it ended early; coming back to the stream\n"
    )


@pytest.mark.parametrize(
    ("options", "query"),
    [
        (("--when-busy", "queue"), "whenBusy=queue&resume=auto"),
        ((), "resume=auto"),
        (("--resume",), "resume=auto"),
        (("--no-resume",), "resume=no"),
        (("--on-disconnect", "interrupt"), "resume=auto&onDisconnect=interrupt"),
    ],
)
def test_send_options_of_the_request(client_ash, server, options, query):
    """Options of the request, not of the message, go into the query."""
    path = f"/api/sessions/s1/messages?{query}"
    server.sends("POST", path, [server.sse(*DONE)])

    assert client_ash("session", "send", "s1", "hi", *options).exit_code == 0


def test_send_done_without_a_reason(client_ash, server):
    """A `done` without a reason means success."""
    server.streams("s1", ("done", {"sessionId": "s1"}))

    assert client_ash("session", "send", "s1", "hi").exit_code == 0


def test_send_json(client_ash, server):
    """--json prints each frame on a line, its data unchanged."""
    raw = '{"type":"assistant",  "message":{"content":[]}, "n":1.0}'
    frames = [server.sse("message", raw, "7"), b": ping\n\n", server.sse(*DONE)]
    server.sends("POST", "/api/sessions/s1/messages?resume=auto", frames)

    lines = client_ash("session", "send", "s1", "hi", "--json").stdout.splitlines()

    assert lines[0] == f'{{"event":"message","data":{raw},"id":"7"}}'
    assert json.loads(lines[1])["event"] == "done"
    assert len(lines) == 2


def test_send_json_turn_that_fails(client_ash, server):
    """With --json a failed turn has exit code 1 too."""
    server.streams("s1", ("error", {"error": "x"}), DONE)

    result = client_ash("session", "send", "s1", "hi", "--json")

    assert (result.exit_code, result.stderr) == (1, "error: x\n")


def test_send_refused(client_ash, server):
    """A refused message is one line of error."""
    body = {"error": "Session is paused", "statusCode": 400}
    server.sends("POST", "/api/sessions/s1/messages?resume=auto", body, 400)

    result = client_ash("session", "send", "s1", "hi")

    assert (result.exit_code, result.stderr) == (1, "ash: Session is paused\n")


def test_send_interrupted_by_the_user(client_ash, server, monkeypatch):
    """Ctrl-C ends only the printing; the server gets no request."""
    server.streams("s1", delta("one"), delta("two"), DONE)

    def interrupted(text):
        raise KeyboardInterrupt

    monkeypatch.setattr("ash.cli.turn.write", interrupted)

    result = client_ash("session", "send", "s1", "hi")

    assert result.exit_code == 130
    assert "the turn goes on: ash session watch s1" in result.stderr
    assert [request[:2] for request in server.asked] == [
        ("POST", "/api/sessions/s1/messages?resume=auto")
    ]


def test_send_interrupted_by_the_user_with_its_turn(client_ash, server, monkeypatch):
    """With --on-disconnect interrupt, Ctrl-C says that the turn is interrupted."""
    path = "/api/sessions/s1/messages?resume=auto&onDisconnect=interrupt"
    server.sends("POST", path, [server.sse(*delta("one"))])

    def interrupted(text):
        raise KeyboardInterrupt

    monkeypatch.setattr("ash.cli.turn.write", interrupted)

    result = client_ash("session", "send", "s1", "hi", "--on-disconnect", "interrupt")

    assert "the turn is interrupted: ash session watch s1" in result.stderr


def test_send_to_a_terminal(client_ash, server, monkeypatch):
    """On a terminal the agent's text is printed without control characters."""
    monkeypatch.setattr("ash.cli.output._on_terminal", lambda **_: True)
    server.streams("s1", delta("a\x1b[2J\tb\nc"), DONE)

    assert client_ash("session", "send", "s1", "hi").stdout == "a[2J\tb\nc\n"


def test_send_to_a_pipe(client_ash, server):
    """In a pipe the agent's text is unchanged."""
    server.streams("s1", delta("a\x1b[2J\u2028\ud83d\n"), DONE)

    assert client_ash("session", "send", "s1", "hi").stdout == "a\x1b[2J\u2028?\n"


def executed(server, result):
    server.sends(
        "POST", "/api/sessions/s1/exec", {"exitCode": 0, "stdout": "", "stderr": "", **result}
    )


def test_logs(client_ash, server):
    """Each line with its time and level; what would move a terminal's cursor is left out."""
    lines = [
        {"index": 1, "level": "system", "text": "The hook ended", "ts": "2026-01-01T00:00:00.000Z"},
        {"index": 2, "level": "stdout", "text": "a\x1b[2Kb", "ts": "2026-01-01T00:00:01.000Z"},
    ]
    server.sends("GET", "/api/sessions/s1/logs", {"logs": lines, "source": "sandbox"})

    printed = client_ash("session", "logs", "s1").stdout.splitlines()

    assert "2026-01-01T00:00:00.000Z system The hook ended" == printed[0]
    assert "2026-01-01T00:00:01.000Z stdout a[2Kb" == printed[1]
    assert lines == json.loads(client_ash("session", "logs", "s1", "--json").stdout)


def test_exec(client_ash, server):
    """Output, errors and exit code are those of the command."""
    executed(server, {"exitCode": 3, "stdout": "out\n", "stderr": "err\n"})

    result = client_ash("session", "exec", "s1", "ls -la", "--timeout", "1.5")

    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
    assert server.last_body == {"command": "ls -la", "timeout": 1500}


def test_exec_waits_longer_than_the_command_may_take(client_ash, server, monkeypatch):
    """The HTTP time-out is longer than the command's."""
    waited = []

    def ask(self, request):
        waited.append(request.patience)
        return CommandResult(exit_code=0, stdout="", stderr="")

    monkeypatch.setattr("ash.client.AshClient.ask", ask)
    client_ash("session", "exec", "s1", "make", "--timeout", "300")

    assert [330.0] == waited


@pytest.mark.parametrize(
    ("result", "remark"),
    [
        ({"exitCode": 124, "timedOut": True}, "ended after 30 seconds\n"),
        ({"truncated": True}, "there was more output than is kept\n"),
    ],
)
def test_exec_that_was_cut_short(client_ash, server, result, remark):
    """A timeout and truncated output are reported on stderr."""
    executed(server, result)

    told = client_ash("session", "exec", "s1", "make")

    assert (result.get("exitCode", 0), remark) == (told.exit_code, told.stderr)


def test_exec_on_a_terminal(client_ash, server, monkeypatch):
    """On a terminal the output is printed without control characters."""
    monkeypatch.setattr("ash.cli.output._on_terminal", lambda **_: True)
    executed(server, {"stdout": "a\x1b[2Jb\n", "stderr": "c\x07d\n"})

    result = client_ash("session", "exec", "s1", "x")

    assert ("a[2Jb\n", "cd\n") == (result.stdout, result.stderr)


def test_exec_refused(client_ash, server):
    """A session that is not active is one line of error."""
    body = {"error": "Session is paused", "statusCode": 400}
    server.sends("POST", "/api/sessions/s1/exec", body, 400)

    result = client_ash("session", "exec", "s1", "true")

    assert (result.exit_code, result.stderr) == (1, "ash: Session is paused\n")


def test_watch_prints_turn_after_turn(client_ash, server, soon):
    """Turns are printed until the session's stream ends; a failed turn is no failure."""
    frames = [
        ("session_start", {}),
        delta("one"),
        assistant("one"),
        DONE,
        ("session_start", {}),
        assistant("two"),
        ("done", {"sessionId": "s1", "reason": "interrupted"}),
    ]
    answer = [server.sse(*frame, number) for number, frame in enumerate(frames, 1)]
    server.sends("GET", "/api/sessions/s1/stream", answer)
    server.sends("GET", "/api/sessions/s1/stream?after=7", b"", 204)

    result = client_ash("session", "watch", "s1")

    assert (result.exit_code, result.stdout) == (0, "one\ntwo\n")
    assert result.stderr == "the turn ended early: interrupted\n"


def test_watch_names_lost_frames(client_ash, server, soon):
    """Lost frames are named, and the message with lost deltas is printed completely."""
    gap = ("gap", {"requested": 8, "earliest": 12, "latest": 20})
    frames = [delta("o"), gap, delta("e"), assistant("one"), DONE]
    path = "/api/sessions/s1/stream?after=6"
    numbered = zip(frames, (7, 11, 12, 13, 14), strict=True)
    server.sends("GET", path, [server.sse(*frame, number) for frame, number in numbered])
    server.sends("GET", "/api/sessions/s1/stream?after=14", b"", 204)

    result = client_ash("session", "watch", "s1", "--after", "6")

    assert result.stdout == "o\none\n"
    assert "frames 8 to 11 are no longer there" in result.stderr


def test_watch_json(client_ash, server, soon):
    """--json prints the frames of all turns with their ids."""
    answer = [server.sse(*DONE, 7), server.sse(*DONE, 9)]
    server.sends("GET", "/api/sessions/s1/stream", answer)
    server.sends("GET", "/api/sessions/s1/stream?after=9", b"", 204)

    lines = client_ash("session", "watch", "s1", "--json").stdout.splitlines()

    assert [json.loads(line)["id"] for line in lines] == ["7", "9"]
