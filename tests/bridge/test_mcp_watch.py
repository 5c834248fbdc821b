"""What is told of MCP servers, and when, without a CLI."""

import json
import os
from contextlib import suppress

import pytest
import trio

from ash.protocol import McpServerState
from bridge.engine import EngineBusy, EngineDied
from bridge.mcp_watch import McpWatch
from bridge.raw_lines import TurnLines

WELL = McpServerState("tools", "connected")
PENDING = McpServerState("tools", "pending")
FAILED = McpServerState("tools", "failed", "Connection closed")


class Cli:
    """Says what the test sets; `asked` counts the requests, `told` has what was reported."""

    def __init__(self):
        self.servers = []
        self.asked = 0
        self.told = []
        self.log = []
        self.watch = McpWatch(self.ask, self.log.append)
        self.watch.tell = self.told.append
        self.turn = TurnLines()

    async def ask(self):
        self.asked += 1
        secret = {"config": {"env": {"TOKEN": "s3cret"}}}
        servers = [{"name": s.name, "status": s.status, **secret} for s in self.servers]
        for server, state in zip(servers, self.servers, strict=True):
            if state.error:
                server["error"] = state.error
        return {"mcpServers": servers}

    def begin(self, *servers):
        """The CLI has written `init`."""
        self.turn.mcp_servers = [{"name": s.name, "status": s.status} for s in servers]
        self.turn.begun.set()


@pytest.fixture
def cli(tmp_path, monkeypatch):
    async def inline(function):
        return function()

    # The clock would run ahead of a thread.
    monkeypatch.setattr(trio.to_thread, "run_sync", inline)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Cli()


async def test_servers_that_are_well_are_told_once(cli, autojump_clock):
    """From what `init` says: no turn costs a request as long as all is well."""
    for _ in range(2):
        cli.turn = TurnLines()
        cli.begin(WELL)
        async with cli.watch.during(cli.turn):
            await trio.sleep(10)
    assert ([[WELL]], 0) == (cli.told, cli.asked)


async def test_conversation_without_servers_is_told_of_none(cli, autojump_clock):
    """A turn that has begun asks for nothing."""
    cli.begin()
    async with cli.watch.during(cli.turn):
        await trio.sleep(10)
    assert ([], 0) == (cli.told, cli.asked)


async def test_server_that_holds_the_turn_is_told_within_a_second(cli, autojump_clock):
    """And again when it has come, or has failed."""
    cli.servers = [PENDING]
    async with cli.watch.during(cli.turn):
        await trio.sleep(1)
        assert [[PENDING]] == cli.told
        await trio.sleep(20)
        cli.servers = [FAILED]
        await trio.sleep(2)
        assert [[PENDING], [FAILED]] == cli.told
        cli.begin(FAILED)
        await trio.sleep(60)
    assert [[PENDING], [FAILED]] == cli.told


async def test_error_of_a_server_is_not_told_anew_in_each_turn(cli, autojump_clock):
    """What `init` leaves out is known from before."""
    cli.servers = [FAILED]
    for _ in range(3):
        cli.turn = TurnLines()
        cli.begin(FAILED)
        async with cli.watch.during(cli.turn):
            await trio.sleep(5)
    assert [[McpServerState("tools", "failed")], [FAILED]] == cli.told


async def test_failure_of_the_turn_is_raised_as_it_is(cli):
    """And a CLI that can't be asked fails no turn."""
    cli.watch = McpWatch(None, cli.log.append)
    with pytest.raises(EngineDied, match="gone"):
        async with cli.watch.during(cli.turn):
            raise EngineDied("gone")


async def test_stderr_of_a_server_is_logged(cli, tmp_path, autojump_clock):
    """What is new in the CLI's own files, line by line, with the server's name."""
    folder = tmp_path / ".cache/claude-cli-nodejs/-w/mcp-logs-tools"
    folder.mkdir(parents=True)
    entries = [{"debug": "Starting"}, {"error": "Server stderr: oh\ndear\n"}, {"error": "Closed"}]
    (folder / "1.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"er')
    cli.servers = [FAILED]
    async with cli.watch.during(cli.turn):
        await trio.sleep(3)
    assert [f"MCP server tools: {said}" for said in ("oh", "dear", "Closed")] == cli.log


async def test_files_that_cannot_be_read_fail_no_turn(cli, tmp_path, autojump_clock):
    """The agent may put there what it likes: a folder, a broken link, a pipe, a long line."""
    folder = tmp_path / ".cache/claude-cli-nodejs/-w/mcp-logs-tools"
    (folder / "0.jsonl").mkdir(parents=True)
    (folder / "1.jsonl").symlink_to("nowhere")
    os.mkfifo(folder / "2.jsonl")
    entries = "\n" + json.dumps({"error": "first"}) + "\n" + json.dumps({"error": "x" * 100_000})
    (folder / "3.jsonl").write_text(f"{entries}\n{json.dumps({'error': 'last'})}\n")
    cli.servers = [PENDING]
    async with cli.watch.during(cli.turn):
        await trio.sleep(6)
    assert ["MCP server tools: first", "MCP server tools: last"] == cli.log
    assert [[PENDING]] == cli.told


@pytest.mark.parametrize("said", ["none", [{"status": "failed"}]])
async def test_servers_of_another_shape_fail_no_turn(cli, said, autojump_clock):
    """What a later CLI may write is not told."""
    cli.turn.mcp_servers = said
    cli.turn.begun.set()
    async with cli.watch.during(cli.turn):
        await trio.sleep(6)
    assert [] == cli.told


async def test_turn_that_ends_before_it_begins_tells_nothing(cli, autojump_clock):
    """A CLI that has died before its `init` has not lost its servers."""
    cli.begin(WELL)
    async with cli.watch.during(cli.turn):
        await trio.sleep(1)
    cli.turn = TurnLines()
    cli.turn.end()
    async with cli.watch.during(cli.turn):
        await trio.sleep(1)
    assert [[WELL]] == cli.told


async def test_what_was_told_in_a_refused_turn_is_told_again(cli, autojump_clock):
    """The daemon shows nothing of a turn that the engine did not take."""
    cli.servers = [FAILED]
    with suppress(EngineBusy):
        async with cli.watch.during(cli.turn):
            await trio.sleep(5)
            raise EngineBusy("busy")
    cli.turn = TurnLines()
    async with cli.watch.during(cli.turn):
        await trio.sleep(5)
    assert [[FAILED], [FAILED]] == cli.told
