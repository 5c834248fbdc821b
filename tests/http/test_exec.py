"""Shell commands in a session's sandbox, through a whole daemon with the scripted engine."""

from functools import partial

import pytest
import trio

from ash.lifecycle import not_active
from tests.support.daemon import running, settings

ONCE_THERE = "until [ -e {} ]; do sleep 0.01; done"
# Its process is reaped: what it came to is on its way before we are.
ONCE_GONE = "while kill -0 $(cat began); do sleep 0.01; done"


@pytest.fixture
async def daemon(tmp_path):
    async with running(settings(tmp_path / "data")) as daemon:
        await daemon.us.deploy()
        yield daemon


@pytest.fixture
async def session(daemon):
    return await daemon.us.create()


@pytest.fixture
def execute(daemon, session):
    """Runs a command in the session; the answer's JSON."""

    async def execute(command, **more):
        response = await ask(daemon.us, session, command=command, **more)
        assert 200 == response.status_code, response.text
        return response.json()

    return execute


async def ask(client, session, **body):
    return await client.post(f"/api/sessions/{session}/exec", json=body)


async def refusal(client, session, **body):
    response = await ask(client, session, **body)
    assert response.status_code == response.json()["statusCode"]
    return response.status_code, response.json()["error"]


async def test_command_tells_what_it_said_and_how_it_ended(execute):
    """Output, errors and exit code come apart; nothing else is in the answer."""
    result = await execute("echo out; echo err >&2; exit 3")
    assert {"exitCode": 3, "stdout": "out\n", "stderr": "err\n"} == result


async def test_command_is_for_a_shell_in_the_workspace(execute):
    """It is bash that runs it, where the agent's files are."""
    result = await execute("cat CLAUDE.md && [[ -w . ]] && echo {1..3}")
    assert (0, "be kind1 2 3\n") == (result["exitCode"], result["stdout"])


async def test_text_comes_through_whole(execute):
    """Any Unicode goes in and comes out; what is no UTF-8 becomes U+FFFD."""
    result = await execute("printf 'ü 日本 \U0001f600 \\xff'")
    assert "ü 日本 \U0001f600 \ufffd" == result["stdout"]


async def test_command_that_is_killed_has_the_exit_code_of_its_signal(execute):
    """As a shell tells it: 128 and the number of the signal."""
    assert 137 == (await execute("kill -9 $$"))["exitCode"]


async def test_command_that_takes_too_long_is_ended(execute):
    """A timeout is exit code 124 with what was printed so far, and its processes are gone."""
    result = await execute("echo begun; sleep 1000 & echo $! > pid; wait", timeout=300)
    left = await execute("kill -0 $(cat pid)")
    expected = {"exitCode": 124, "stdout": "begun\n", "stderr": "", "timedOut": True}
    assert expected == result
    assert 0 != left["exitCode"]


async def test_output_that_is_too_long_is_cut(execute):
    """Of each stream the first MiB is kept, and the answer says so."""
    result = await execute("head -c 1048577 /dev/zero | tr '\\0' x; echo err >&2")
    assert (1048576, "err\n", True) == (
        len(result["stdout"]),
        result["stderr"],
        result["truncated"],
    )


async def test_command_runs_while_a_message_streams(daemon, session, execute):
    """A turn that waits for a file goes on when a command has made it."""
    wait = ONCE_THERE.format("go")
    async with daemon.us.sending(session, f"BASH: {wait}; echo went") as stream:
        await stream.until("tool_use")
        await execute("touch go")
        result = await stream.until("tool_result")
        last = (await stream.rest())[-1]
    assert "went" in str(result.value["content"])
    assert ("done", "completed") == (last.event, last.value["reason"])


async def test_commands_run_beside_each_other(execute, nursery):
    """A command that waits for another one doesn't hold it up."""
    results = {}

    async def run(name, command):
        results[name] = (await execute(command))["stdout"]

    async with trio.open_nursery() as both:
        both.start_soon(run, "first", f"touch one; {ONCE_THERE.format('two')}; echo 1")
        both.start_soon(run, "second", f"{ONCE_THERE.format('one')}; touch two; echo 2")
    assert {"first": "1\n", "second": "2\n"} == results


async def test_command_goes_on_when_its_client_leaves(daemon, session, execute):
    """A client is not a command: who leaves doesn't end it."""
    command = f"touch began; {ONCE_THERE.format('go')}; touch finished"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(execute, command)
        await execute(ONCE_THERE.format("began"))
        nursery.cancel_scope.cancel()
    result = await execute(f"touch go; {ONCE_THERE.format('finished')}; echo yes", timeout=10_000)
    assert "yes\n" == result["stdout"]


async def test_session_with_a_command_is_busy(tmp_path):
    """A sandbox is not given up for another session while a command runs, client or not."""
    async with running(settings(tmp_path / "data", max_sandboxes=1)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()

        async with trio.open_nursery() as nursery:
            command = f"echo $$ > began; {ONCE_THERE.format('go')}"
            nursery.start_soon(partial(ask, daemon.us, session, command=command))
            await ask(daemon.us, session, command=ONCE_THERE.format("began"))
            nursery.cancel_scope.cancel()
        refused = await daemon.us.post("/api/sessions", json={"agent": "helper"})
        await ask(daemon.us, session, command=f"touch go; {ONCE_GONE}")
        await daemon.us.create()

        assert 503 == refused.status_code
        assert "paused" == await daemon.us.status(session)


async def test_command_in_a_session_that_ends_is_told_so(daemon, session, execute):
    """Ending the session ends the command: its client gets an error, not silence."""
    refused = []

    async def run():
        refused.append(await refusal(daemon.us, session, command="touch began; sleep 1000"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await execute(ONCE_THERE.format("began"))
        await daemon.us.delete(f"/api/sessions/{session}")
    [(status, text)] = refused
    assert (409, "The session was stopped while the command ran") == (status, text)


async def test_session_that_is_not_active_runs_nothing(daemon, session):
    """The refusal names the state that the session is in."""
    await daemon.us.post(f"/api/sessions/{session}/pause")
    paused = await refusal(daemon.us, session, command="true")
    await daemon.us.delete(f"/api/sessions/{session}")
    ended = await refusal(daemon.us, session, command="true")
    expected = [(400, not_active("paused").text), (400, not_active("ended").text)]
    assert expected == [paused, ended]


async def test_session_of_another_runs_nothing(daemon, session):
    """Another tenant's session is a 404, as one that never was; without a key it is a 401."""
    theirs = await refusal(daemon.them, session, command="true")
    unknown = await refusal(daemon.us, "nothing", command="true")
    nobody = await refusal(daemon.nobody, session, command="true")
    assert (404, 404, 401) == (theirs[0], unknown[0], nobody[0])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "command: this field is required"),
        ({"command": ""}, "command:"),
        ({"command": ["ls"]}, "command:"),
        ({"command": "a\0b"}, "command: a NUL"),
        ({"command": "ü" * 65_536}, "command: up to 131071 bytes"),
        ({"command": "true", "timeout": 0}, "timeout:"),
        ({"command": "true", "timeout": 300_001}, "timeout:"),
        ({"command": "true", "timeout": "1 s"}, "timeout:"),
    ],
)
async def test_bad_command_names_the_field(daemon, session, body, field):
    """What does not fit is a 400 that names the field and the rule."""
    status, text = await refusal(daemon.us, session, **body)
    assert (400, True) == (status, text.startswith(field)), text


async def test_longest_command_is_run(execute):
    """A command as long as Linux takes one is run."""
    command = "echo ok #"
    command += "x" * (131_071 - len(command))
    assert "ok\n" == (await execute(command))["stdout"]


async def test_files_and_commands_see_the_same(daemon, session, execute):
    """What is uploaded the agent can change, and what it makes can be read, also afterwards."""
    files = f"/api/sessions/{session}/files"
    body = {"files": [{"path": "new/file", "content": "aGVsbG8="}]}
    await daemon.us.post(files, json=body)
    changed = await execute("echo ' world' >> new/file && touch new/own && rm CLAUDE.md")
    live = await daemon.us.get(f"{files}/new/file")
    await daemon.us.delete(f"{files}/new/own")
    gone = await execute("ls new/own")
    await daemon.us.delete(f"/api/sessions/{session}")
    kept = (await daemon.us.get(files)).json()

    assert (0, "") == (changed["exitCode"], changed["stderr"])
    assert (b"hello world\n", "sandbox") == (live.content, live.headers["x-ash-source"])
    assert 2 == gone["exitCode"]
    assert (["new/file"], "snapshot") == ([file["path"] for file in kept["files"]], kept["source"])


async def test_links_that_an_agent_makes_lead_nowhere(daemon, session, execute):
    """What is a way out inside the sandbox is none for the routes outside."""
    targets = [
        "/etc/passwd",
        "/proc/self/environ",
        "/proc/1/root",
        "/workspace/CLAUDE.md",
        "../home",
    ]
    await execute("; ".join(f"ln -s {target} {number}" for number, target in enumerate(targets)))
    for number in range(len(targets)):
        answer = await daemon.us.get(f"/api/sessions/{session}/files/{number}")
        assert (400, True) == (answer.status_code, "leads out" in answer.text)
    listed = (await daemon.us.get(f"/api/sessions/{session}/files")).json()
    assert ["CLAUDE.md"] == [file["path"] for file in listed["files"]]
