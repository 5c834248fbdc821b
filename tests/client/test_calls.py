"""Every call of the life cycle, from a thread, under trio and under asyncio."""

import json

import pytest

from ash import AshApiError, FileToSend
from ash.model import Agent, Message, Session


def everything(event):
    return True


async def test_agents(script, data_dir):
    """Deployed from a prompt, files or a folder of the server's; listed, read and deleted."""
    first = await script.call("deploy_agent", "a", system_prompt="be kind", env={"TOKEN": "x"})
    files = {"CLAUDE.md": "# A", "data.bin": b"\x00\xff"}
    second = await script.call("deploy_agent", "a", files=files)
    folder = data_dir / "folder"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("# B")
    await script.call("deploy_agent", "b", path=str(folder), config={"network": "none"})

    assert isinstance(first, Agent)
    assert (1, 2, {"TOKEN": "***"}) == (first.version, second.version, first.env)
    assert ["a", "b"] == sorted(agent.name for agent in await script.call("list_agents"))
    assert {"network": "none"} == (await script.call("get_agent", "b")).config
    assert await script.call("delete_agent", "b") is None
    assert ["a"] == [agent.name for agent in await script.call("list_agents")]


async def test_warnings_of_a_deploy(script, data_dir):
    """Only the answer to the deploy has them; a deploy without any has an empty list."""
    plain = await script.call("deploy_agent", "a", files={"CLAUDE.md": "# A"})
    worktree = {"CLAUDE.md": "# A", ".git": "gitdir: /elsewhere"}
    odd = await script.call("deploy_agent", "a", files=worktree)

    assert [] == plain.warnings
    assert [".git"] == [warning.partition(":")[0] for warning in odd.warnings]
    assert [] == (await script.call("get_agent", "a")).warnings


async def test_check_of_a_folder(script, data_dir):
    """Says what a deploy would say, and deploys nothing."""
    found = await script.call("check_agent", "a", files={"CLAUDE.md": "# A", ".mcp.json": "{]"})

    assert (False, ".mcp.json", 1) == (found.ok, found.findings[0].path, found.findings[0].line)
    assert [] == await script.call("list_agents")


async def test_files_have_permissions_and_links(script, data_dir):
    """A file is executable, a link stays one, and an odd name arrives as the bytes it is."""
    files = {
        "CLAUDE.md": "# A",
        "run": FileToSend("echo", executable=True),
        "notes": FileToSend(b"x", mode="600"),
        "link": FileToSend(link="notes"),
        "empty/": b"",
        "caf\udce9": "x",
    }
    await script.call("deploy_agent", "a", files=files)

    (copy,) = (data_dir / "agents" / "default" / "a").iterdir()
    assert [0o755, 0o600] == [(copy / name).stat().st_mode & 0o777 for name in ("run", "notes")]
    assert "notes" == str((copy / "link").readlink())
    assert (copy / "empty").is_dir()
    assert (copy / "caf\udce9").is_file()


async def test_odd_names_in_a_session(script, session):
    """What a list calls it reads and deletes it, and so does the name that Python has for it."""
    files = {"caf\udce9": FileToSend(b"x", mode="700")}
    (written,) = await script.call("write_files", session, files)
    (listed,) = [
        file.path
        for file in (await script.call("list_files", session)).files
        if file.path.startswith("caf")
    ]

    assert "caf\ufffdE9" == listed == written.path
    assert b"x" == await script.call("read_file", session, listed)
    assert b"x" == await script.call("read_file", session, "caf\udce9")
    await script.call("delete_file", session, listed)
    with pytest.raises(AshApiError, match="There is no file"):
        await script.call("read_file", session, listed)


async def test_life_of_a_session(script, us):
    """Created, paused, resumed, stopped, configured, forked and ended."""
    await us.deploy()
    made = await script.call(
        "create_session", "helper", model="m", extra_env={"A": "1"}, limits={"memoryMb": 512}
    )
    await script.take(everything, "send_message", made.id, "hello")

    paused = await script.call("pause_session", made.id)
    resumed = await script.call("resume_session", made.id)
    stopped = await script.call("stop_session", made.id)
    fork = await script.call("fork_session", made.id, 1)
    other = await script.call("configure_session", made.id, model=None, allowed_tools=["Bash"])
    ended = await script.call("end_session", made.id)
    await script.call("end_session", fork.id, keep_files=False)

    assert isinstance(made, Session)
    states = [found.status for found in (made, paused, resumed, stopped)]
    assert ["active", "paused", "active", "stopped"] == states
    assert (made.id, "paused") == (fork.parent_session_id, fork.status)
    assert 1 == len(await script.call("list_messages", fork.id))
    assert (None, ["Bash"]) == (other.model, other.config["allowedTools"])
    assert "ended" == ended.status == (await script.call("get_session", made.id)).status
    assert "snapshot" == (await script.call("list_files", made.id)).source
    with pytest.raises(AshApiError, match="no files any more"):
        await script.call("list_files", fork.id)


async def test_lists_of_sessions(script, us, session):
    """Filtered and paged by the server."""
    other = await us.create()
    await script.call("stop_session", other)

    newest_first = [found.id for found in await script.call("list_sessions", agent="helper")]
    stopped = [found.id for found in await script.call("list_sessions", status="stopped")]
    second = [found.id for found in await script.call("list_sessions", limit=1, offset=1)]

    assert ([other, session], [other], [session]) == (newest_first, stopped, second)
    assert [] == await script.call("list_sessions", agent="nobody")


async def test_interrupt(script, us, session):
    """Whether there was a turn to end."""
    assert await script.call("interrupt_session", session) is False
    async with us.sending(session, "SLOW: 100 60", includePartialMessages=True) as stream:
        await stream.until("text_delta")

        assert await script.call("interrupt_session", session) is True
        assert "interrupted" == (await stream.until("done")).value["reason"]


async def test_turn(script, session):
    """The frames of a turn, with their ids, up to `done`."""
    events = await script.take(
        everything, "send_message", session, "hello", include_partial_messages=True, max_turns=3
    )

    assert ("session_start", "done") == (events[0].event, events[-1].event)
    assert {"sessionId": session, "reason": "completed"} == events[-1].json()
    ids = [event.id for event in events]
    assert list(range(ids[0], ids[0] + len(ids))) == ids
    assert "echo: hello" == "".join(e.json()["delta"] for e in events if e.event == "text_delta")


async def test_message_with_options_of_the_request(script, us, session):
    """`resume` makes a paused session active, `when_busy` ends the turn that runs."""
    await us.post(f"/api/sessions/{session}/pause")
    async with us.sending(session, "SLOW: 100 60", "?resume=auto") as stream:
        await stream.until("session_start")
        events = await script.take(
            everything, "send_message", session, "hi", when_busy="interrupt", resume="auto"
        )

    assert "completed" == events[-1].json()["reason"]


async def test_message_that_waits_for_its_turn(script, us, session, monkeypatch):
    """One that queues is patient for as long as it takes, and gets its own turn alone."""
    monkeypatch.setattr("ash.client.stream_calls.SILENCE", 0.1)
    async with us.sending(session, "SLOW: 3 0.6", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        events = await script.take(everything, "send_message", session, "hi", when_busy="queue")

    assert "session_start" == events[0].event
    assert "echo: hi" in str([event.json() for event in events])


async def test_history(script, session):
    """Messages, timeline and logs, from where the script was."""
    await script.take(everything, "send_message", session, "hello")

    user, *answers = await script.call("list_messages", session)
    (second,) = await script.call("list_messages", session, after=1, limit=1)
    kinds = {event.type for event in await script.call("list_events", session)}
    (turn,) = await script.call("list_events", session, type="turn_complete")
    logs = await script.call("get_logs", session)

    assert isinstance(user, Message)
    assert {"type": "user", "content": "hello"} == json.loads(user.content)
    assert answers[0] == second
    assert {"lifecycle", "text", "turn_complete"} <= kinds
    assert "turn_complete" == turn.type
    assert "sandbox" == logs.source


async def test_commands(script, session):
    """Output and exit code; a timeout in milliseconds."""
    done = await script.call("exec", session, "echo out; echo err >&2; exit 3")
    late = await script.call("exec", session, "sleep 60", timeout=100)

    assert (3, "out\n", "err\n", False) == (
        done.exit_code,
        done.stdout,
        done.stderr,
        done.timed_out,
    )
    assert (124, True) == (late.exit_code, late.timed_out)


async def test_files(script, session):
    """Written, listed, read and deleted, byte for byte."""
    written = await script.call(
        "write_files", session, {"a b.txt": "ä", ".c": b"\x00\xff"}, target_path="up"
    )
    listed = await script.call("list_files", session)
    hidden = await script.call("list_files", session, include_hidden=True)

    assert {("up/a b.txt", True, 2), ("up/.c", True, 2)} == {
        (file.path, file.written, file.size) for file in written
    }
    assert ["CLAUDE.md", "up/a b.txt"] == [file.path for file in listed.files]
    assert "up/.c" in [file.path for file in hidden.files]
    assert b"\x00\xff" == await script.call("read_file", session, "up/.c")
    assert await script.call("delete_file", session, "up/.c") is None
    with pytest.raises(AshApiError, match=r"up/\.c"):
        await script.call("read_file", session, "up/.c")


async def test_health(script):
    """What the server says of itself."""
    assert "ok" == (await script.call("health"))["status"]
