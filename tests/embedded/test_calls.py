"""What a script can ask of the ash inside it: the same as of a server."""

import pytest

from ash import FileToSend
from ash.errors import AshError, BadRequest, Conflict, Gone
from ash.model import Agent, Session
from tests.support.embedded import begin, embedded, say


async def test_agents(ash, tmp_path, monkeypatch):
    """Deployed from a prompt, files or a folder; listed, read and deleted."""
    first = await ash.deploy_agent("a", system_prompt="be kind", env={"TOKEN": "x"})
    files = {"CLAUDE.md": "# A", "data.bin": b"\x00\xff"}
    second = await ash.deploy_agent("a", files=files)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "CLAUDE.md").write_text("# B")
    monkeypatch.chdir(tmp_path)
    await ash.deploy_agent("b", path="./folder", config={"network": "none"})

    assert isinstance(first, Agent)
    assert (1, 2, {"TOKEN": "***"}) == (first.version, second.version, first.env)
    assert ["a", "b"] == sorted(agent.name for agent in await ash.list_agents())
    assert {"network": "none"} == (await ash.get_agent("b")).config
    await ash.delete_agent("b")
    assert ["a"] == [agent.name for agent in await ash.list_agents()]


async def test_warnings_of_a_deploy(ash):
    """What there is to say of the folder comes with the agent, and is not kept."""
    files = {"CLAUDE.md": "# A", ".git": "gitdir: /elsewhere"}
    agent = await ash.deploy_agent("a", files=files)

    assert [".git"] == [warning.partition(":")[0] for warning in agent.warnings]
    assert [] == (await ash.get_agent("a")).warnings


async def test_folder_can_be_checked_without_a_deploy(ash, tmp_path):
    """The answer has the findings; a folder without any is fine."""
    files = {"CLAUDE.md": "# A", ".mcp.json": "{]"}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "CLAUDE.md").write_text("# A")
    bad = await ash.check_agent("a", files=files)
    good = await ash.check_agent("a", path=str(tmp_path / "mine"))
    assert (False, ".mcp.json", 2) == (bad.ok, bad.findings[0].path, bad.findings[0].column)
    assert (True, []) == (good.ok, good.findings)
    assert [] == await ash.list_agents()


async def test_folder_with_an_odd_name(ash, tmp_path):
    """A folder whose name is not UTF-8 is deployed by that name, which is shown as text."""
    folder = tmp_path / "caf\udce9"
    folder.mkdir()
    (folder / "CLAUDE.md").write_text("# A")

    first = await ash.deploy_agent("a", path=str(folder))
    second = await ash.deploy_agent("a", path=first.path)

    assert (1, 2) == (first.version, second.version)
    assert str(tmp_path / "caf\ufffdE9") == first.path == second.path


async def test_files_have_permissions_and_links(ash):
    """They are as they would come over HTTP."""
    files = {
        "CLAUDE.md": "# A",
        "run": FileToSend("#!/bin/sh\necho $0 $GREETING", mode="700"),
        "link": FileToSend(link="run"),
        ".env": "GREETING=hello",
        "caf\udce9": "x",
    }
    await ash.deploy_agent("a", files=files)
    session = await ash.create_session("a")

    assert "./link hello\n" == (await ash.exec(session.id, "./link")).stdout
    assert b"x" == await ash.read_file(session.id, "caf\ufffdE9")
    await ash.write_files(session.id, {"two": FileToSend("echo two", executable=True)})
    assert "two\n" == (await ash.exec(session.id, "./two")).stdout


async def test_files_of_an_agent_are_what_was_given(ash):
    """Bytes stay bytes."""
    await ash.deploy_agent("a", files={"CLAUDE.md": "# A", "deep/data.bin": b"\x00\xff"})
    session = await ash.create_session("a")
    assert b"\x00\xff" == await ash.read_file(session.id, "deep/data.bin")


async def test_life_of_a_session(ash, session):
    """Paused, resumed, stopped, forked, configured and ended."""
    await say(ash, session, "hello")
    changes = (ash.pause_session, ash.resume_session, ash.stop_session, ash.resume_session)
    states = [(await change(session)).status for change in changes]
    fork = await ash.fork_session(session, 1)
    other = await ash.configure_session(session, model="m", allowed_tools=["Bash"])
    back = await ash.configure_session(session, model=None)
    ended = await ash.end_session(session)

    assert ["paused", "active", "stopped", "active"] == states
    assert (session, "paused") == (fork.parent_session_id, fork.status)
    assert 1 == len(await ash.list_messages(fork.id))
    assert ("m", None, ["Bash"]) == (other.model, back.model, back.config["allowedTools"])
    assert "ended" == ended.status == (await ash.get_session(session)).status
    assert [fork.id] == [found.id for found in await ash.list_sessions(status="paused")]


async def test_session_is_created_as_asked(ash, session):
    """What a session is given holds in it, and nowhere else."""
    made = await ash.create_session(
        "helper", model="m", extra_env={"A": "1"}, limits={"memoryMb": 512}, allowed_tools=["Bash"]
    )
    assert isinstance(made, Session)
    assert ("m", {"allowedTools": ["Bash"]}) == (made.model, made.config)
    assert "1\n" == (await ash.exec(made.id, "echo $A")).stdout
    assert "\n" == (await ash.exec(session, "echo $A")).stdout


async def test_what_a_script_does_to_a_session_it_got_stays_with_it(ash, session):
    """It is a copy."""
    mine = await ash.resume_session(session)
    mine.status = "ended"
    assert "active" == (await ash.resume_session(session)).status


async def test_history(ash, session):
    """Messages, timeline and logs, paged."""
    await say(ash, session, "BASH: echo out")
    messages = await ash.list_messages(session, limit=2)
    rest = await ash.list_messages(session, after=2)
    assert [] == await ash.list_events(session, type="odd")
    tools = await ash.list_events(session, type="tool_start")
    logs = await ash.get_logs(session)

    assert [1, 2, 3] == [message.sequence for message in [*messages, *rest][:3]]
    assert ["tool_start"] == [event.type for event in tools]
    assert "sandbox" == logs.source
    assert [] == (await ash.get_logs(session, after=len(logs.logs))).logs


async def test_commands_and_files(ash, session):
    """Run and changed in the sandbox, while it lives and afterwards."""
    failed = await ash.exec(session, "echo a; echo b >&2; exit 3")
    late = await ash.exec(session, "sleep 60", timeout=50)
    written = await ash.write_files(
        session, {"a.txt": "text", "b.bin": b"\x00" * 3_000_000}, target_path="in"
    )
    await ash.stop_session(session)
    await ash.delete_file(session, "in/a.txt")
    found = await ash.list_files(session)

    assert (3, "a\n", "b\n", False) == (
        failed.exit_code,
        failed.stdout,
        failed.stderr,
        failed.timed_out,
    )
    assert (124, True) == (late.exit_code, late.timed_out)
    assert [("in/a.txt", 4, None), ("in/b.bin", 3_000_000, None)] == [
        (each.path, each.size, each.error) for each in written
    ]
    assert ("snapshot", ["CLAUDE.md", "in/b.bin"]) == (
        found.source,
        [file.path for file in found.files],
    )
    assert b"\x00" * 3_000_000 == await ash.read_file(session, "in/b.bin")


async def test_health(ash, session):
    """As a server's, plain values only."""
    health = await ash.health()
    assert ("ok", "scripted", 1) == (health["status"], health["engine"], health["pool"]["waiting"])


def shown(error):
    return f"{error.status} {error.text}"


@pytest.mark.parametrize(
    ("name", "arguments", "options", "refusal"),
    [
        ("deploy_agent", ["a b"], {"system_prompt": "x"}, "400 name: expected"),
        ("deploy_agent", ["a"], {}, "400 Give exactly one of path, files and systemPrompt"),
        ("deploy_agent", ["a"], {"path": "nowhere"}, "400 path: there is no folder"),
        ("deploy_agent", ["a"], {"path": ""}, "400 path: expected"),
        ("deploy_agent", ["a"], {"files": {"x": ""}}, "400 files: CLAUDE.md is missing"),
        ("deploy_agent", ["a"], {"files": {"CLAUDE.md": "", "../x": ""}}, "400 files: the path"),
        (
            "deploy_agent",
            ["a"],
            {"system_prompt": "x", "config": {"network": "moon"}},
            "400 config.network",
        ),
        ("deploy_agent", ["a"], {"system_prompt": "\ud800"}, "400 systemPrompt: holds half"),
        ("get_agent", ["nobody"], {}, '404 There is no agent "nobody"'),
        ("create_session", ["nobody"], {}, '404 There is no agent "nobody"'),
        ("create_session", ["helper"], {"permission_mode": "yolo"}, "400 permissionMode:"),
        ("create_session", ["helper"], {"extra_env": {"1": ""}}, "400 extraEnv:"),
        (
            "create_session",
            ["helper"],
            {"mcp_servers": {"x": {}}},
            "400 mcpServers.x: give exactly one of url and command",
        ),
        (
            "create_session",
            ["helper"],
            {"subagents": {"x": object()}},
            "400 This can't be sent as JSON",
        ),
        ("list_sessions", [], {"limit": 0}, "400 limit: expected a whole number from 1"),
        ("list_sessions", [], {"limit": 1.5}, "400 limit: expected a whole number"),
        ("list_sessions", [], {"status": "odd"}, "400 status: expected one of starting"),
        ("get_session", ["nobody"], {}, '404 There is no session "nobody"'),
        ("fork_session", [..., 7], {}, "400 afterSequence: the last finished message is"),
        ("fork_session", [...], {"when_busy": "refuse"}, "400 whenBusy: expected one of"),
        ("fork_session", [..., -1], {}, "400 afterSequence: expected"),
        ("configure_session", [...], {"betas": "x"}, "400 betas: expected"),
        ("exec", [..., ""], {}, "400 command: expected"),
        ("exec", [..., "a\0"], {}, "400 command: a NUL"),
        ("exec", [..., "a"], {"timeout": 0}, "400 timeout: expected"),
        ("read_file", [..., "../x"], {}, '400 "../x"'),
        ("read_file", [..., "x"], {}, '404 There is no file "x"'),
        ("write_files", [..., {}], {}, "400 files: expected"),
        ("write_files", [..., {"../x": ""}], {}, '400 "../x"'),
        ("delete_file", [..., "x"], {}, '404 There is no file "x"'),
    ],
)
async def test_bad_input_is_refused_in_words(ash, session, name, arguments, options, refusal):  # noqa: PLR0917 - a table's row
    """The error is of the kind that HTTP's status says, and names the field."""
    given = [session if each is ... else each for each in arguments]
    with pytest.raises(AshError) as refused:
        await getattr(ash, name)(*given, **options)
    assert shown(refused.value).startswith(refusal)
    assert ["helper"] == [agent.name for agent in await ash.list_agents()]
    assert [session] == [found.id for found in await ash.list_sessions()]
    assert ["CLAUDE.md"] == [file.path for file in (await ash.list_files(session)).files]


@pytest.mark.parametrize(
    ("content", "options", "refusal"),
    [
        ("x" * 500_001, {}, "400 content: a string of up to 500000 characters"),
        ([], {}, "400 content: 1 to 20 blocks are allowed, not 0"),
        (7, {}, "400 content: expected"),
        ("hi", {"max_turns": 0}, "400 maxTurns: expected"),
        ("hi", {"when_busy": "panic"}, "400 whenBusy: "),
        ("hi", {"on_disconnect": "panic"}, "400 onDisconnect: "),
        (
            [{"type": "image", "data": "x" * 50 * 1024**2}],
            {},
            "413 The message is larger than 50 MB",
        ),
    ],
)
async def test_bad_message_is_refused_in_words(ash, session, content, options, refusal):
    """There is no turn then, and nothing is stored."""
    with pytest.raises(AshError) as refused:
        async with ash.send_message(session, content, **options):
            pass
    assert shown(refused.value).startswith(refusal)
    assert [] == await ash.list_messages(session)


async def test_what_the_state_does_not_allow_is_refused(ash, session):
    """A turn at a time, and none in a session that has ended."""
    async with await begin(ash, session):
        with pytest.raises(Conflict):
            await say(ash, session, "another")
    assert await ash.interrupt_session(session)
    assert not await ash.interrupt_session(session)
    await ash.end_session(session)
    with pytest.raises(Gone):
        await ash.resume_session(session)
    with pytest.raises(BadRequest, match="Session is ended"):
        await say(ash, session, "hello")


async def test_call_outside_of_the_block_is_refused(data_dir):
    """Before and after it."""
    ash = embedded(data_dir)
    for _ in range(2):
        with pytest.raises(AshError, match="This Ash is not open"):
            await ash.list_agents()
        with pytest.raises(AshError, match="This Ash is not open"):
            await say(ash, "x", "hello")
        async with ash:
            assert [] == await ash.list_agents()
