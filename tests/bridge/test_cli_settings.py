"""How a launch becomes settings of the CLI that no command line or request shows."""

from pathlib import Path
from uuid import uuid4

import pytest

from bridge import cli_settings
from bridge.engine import EngineError, Launch
from bridge.launch_files import write_files


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CLAUDE_CONFIG_DIR", raising=False)
    return tmp_path


def _transcript(config: Path, session_id: str, *lines: str) -> Path:
    file = config / "projects" / "-some-where" / f"{session_id}.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


async def test_conversation_on_disk_can_be_resumed(home) -> None:
    """A conversation is found in whichever folder it was held."""
    session_id = str(uuid4())
    _transcript(home / ".claude", session_id, '{"type":"queue-operation"}', '{"type":"user"}')
    assert await cli_settings.can_resume(session_id)
    assert not await cli_settings.can_resume(str(uuid4()))


async def test_conversation_is_looked_for_where_the_cli_keeps_it(home, monkeypatch) -> None:
    """CLAUDE_CONFIG_DIR replaces the folder in the home directory."""
    session_id = str(uuid4())
    _transcript(home / "elsewhere", session_id, '{"type":"user"}')
    assert not await cli_settings.can_resume(session_id)
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "elsewhere"))
    assert await cli_settings.can_resume(session_id)


async def test_transcript_without_a_word_of_the_user_is_set_aside(home) -> None:
    """A transcript without a user's message is renamed: the CLI could not use it."""
    session_id = str(uuid4())
    file = _transcript(home / ".claude", session_id, '{"type":"queue-operation"}')
    assert not await cli_settings.can_resume(session_id)
    assert not file.exists()
    assert '{"type":"queue-operation"}\n' == file.with_suffix(".cut").read_text()


@pytest.mark.parametrize("session_id", ["", "*", "../x", "not-a-uuid"])
async def test_session_id_is_a_uuid(home, session_id) -> None:
    """A session id that is no UUID is refused, because it becomes part of a path."""
    with pytest.raises(EngineError, match="must be a UUID"):
        await cli_settings.can_resume(session_id)


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
