"""MCP servers on the real CLI: nobody waits for one without being told which."""

import pytest

from ash.protocol import EngineMessage, McpServerState, McpStatus, TurnDone
from tests.support.bridge import start_bridge

pytestmark = pytest.mark.cli

SERVERS = {
    "mute": {"command": "sh", "args": ["-c", "sleep 999"]},
    "broken": {"command": "sh", "args": ["-c", "echo oh dear >&2; exit 3"]},
}
MUTE = McpServerState("mute", "pending")
BROKEN = McpServerState("broken", "failed", "Connection closed")


@pytest.mark.parametrize("engine", ["claude-agent", "claude-code"])
def test_turn_that_waits_for_a_server_says_so(engine, model, tmp_path):
    """Before the CLI writes a word: which it waits for, which has failed, and why."""
    bounds = {"CLAUDE_CODE_MCP_STARTUP_WAIT_MS": "5000"}
    with start_bridge(engine, tmp_path, model.url, **bounds) as bridge:
        bridge.open(mcp_servers=SERVERS).ask("hello")
        events = [bridge.receive()]
        while events[-1] != McpStatus([MUTE, BROKEN]):
            events.append(bridge.receive())
        assert not [event for event in events if isinstance(event, EngineMessage)]
        while not isinstance(bridge.receive(), TurnDone):
            pass
        assert "MCP server broken: oh dear" in bridge.log
