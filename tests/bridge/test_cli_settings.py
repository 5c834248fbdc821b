"""How a launch becomes settings of the CLI that no command line or request shows."""

from pathlib import Path

import pytest

from bridge import cli_settings
from bridge.engine import Launch
from bridge.launch_files import write_files


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("server", "type_"),
    [
        ({"url": "http://h/mcp"}, "http"),
        ({"url": "http://h/sse"}, "sse"),
        ({"url": "http://h/a/sse/?key=1"}, "sse"),
        ({"url": "http://h/x", "type": "sse"}, "sse"),
        ({"command": "run"}, "stdio"),
    ],
)
def test_mcp_server_gets_its_type(home, tmp_path, server, type_) -> None:
    """A server without a type gets one by its other fields; all fields are kept."""
    launch = Launch(session_id="x", mcp_servers={"name": server})
    file = write_files(launch, tmp_path, print).mcp_servers
    assert '{"mcpServers": {"name": {' in file.read_text()
    assert f'"type": "{type_}"' in file.read_text()


def test_betas_are_added_to_those_of_the_environment(monkeypatch, tmp_path) -> None:
    """A session's betas are added to those of its environment."""
    monkeypatch.setenv("ANTHROPIC_BETAS", "one")
    env = cli_settings.environment(Launch(session_id="x", betas=["two", "three"]), tmp_path)
    assert "one,two,three" == env["ANTHROPIC_BETAS"]


def test_cli_is_named_by_the_environment_or_found_in_the_wheel(monkeypatch) -> None:
    """CLAUDE_CODE_EXECUTABLE comes before the CLI in the SDK's wheel."""
    monkeypatch.delenv("CLAUDE_CODE_EXECUTABLE", raising=False)
    assert cli_settings.cli_path().endswith("claude_agent_sdk/_bundled/claude")
    monkeypatch.setenv("CLAUDE_CODE_EXECUTABLE", "/opt/claude")
    assert "/opt/claude" == cli_settings.cli_path()
