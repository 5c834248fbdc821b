"""Translates a launch into the CLI's settings, as far as that is the same for both SDKs."""

import json
import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bridge.engine import EngineError, Launch

# All of them, because agents bring `.claude/settings.json`, `CLAUDE.md` and `.mcp.json`.
SETTING_SOURCES: tuple[Literal["user", "project", "local"], ...] = ("user", "project", "local")


def cli_path() -> str:
    """CLAUDE_CODE_EXECUTABLE, else the CLI in claude-agent-sdk's wheel, else `claude` on PATH."""
    if given := os.environ.get("CLAUDE_CODE_EXECUTABLE"):
        return given
    sdk = find_spec("claude_agent_sdk")
    if sdk is not None and sdk.origin is not None:
        bundled = Path(sdk.origin).parent / "_bundled" / "claude"
        if bundled.is_file():
            return str(bundled)
    if found := shutil.which("claude"):
        return found
    raise EngineError("There is no Claude CLI here: set CLAUDE_CODE_EXECUTABLE to its path")


def environment(launch: Launch) -> dict[str, str]:
    """The variables that the CLI gets in addition to the bridge's own environment."""
    env = {"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1"}
    if launch.betas:
        # The `--betas` flag takes only betas that the CLI knows, and the SDKs pass several as one.
        given = os.environ.get("ANTHROPIC_BETAS")
        env["ANTHROPIC_BETAS"] = ",".join([*([given] if given else []), *launch.betas])
    return env


def permission_flag(launch: Launch) -> str | None:
    """The CLI's permission mode; None leaves it to the agent's own settings."""
    mode = launch.permission_mode
    return None if mode == "permissionsByAgent" else mode


def extra_flags(launch: Launch) -> dict[str, str | None]:
    """Flags that neither SDK has an option for.

    The CLI records the system prompt with the conversation, and on a resume it would use the
    recorded one instead of the one given; the snapshot is off so that the given one counts.
    """
    flags: dict[str, str | None] = {}
    if launch.initial_agent is not None:
        flags["agent"] = launch.initial_agent
    if launch.initial_agent is not None or launch.system_prompt is not None:
        flags["system-prompt-snapshot"] = "off"
    return flags


def write_files(launch: Launch, folder: Path) -> tuple[Path | None, Path | None]:
    """Writes the system prompt and the MCP servers, where given, into files for the CLI.

    As arguments they would be limited to 128 KiB, and other processes could read them.
    """
    _trust_workspace()
    prompt = mcp = None
    if launch.system_prompt is not None:
        prompt = folder / "system-prompt.md"
        prompt.write_text(launch.system_prompt)
    if launch.mcp_servers:
        mcp = folder / "mcp.json"
        servers = {name: _mcp_server(name, value) for name, value in launch.mcp_servers.items()}
        mcp.write_text(json.dumps({"mcpServers": servers}))
    return prompt, mcp


def _trust_workspace() -> None:
    """Accepts the CLI's trust dialog for this folder.

    Otherwise the CLI would ignore the permission rules in the agent's settings.
    """
    file = Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home(), ".claude.json")
    if not file.exists():
        trusted = {"hasTrustDialogAccepted": True}
        file.write_text(json.dumps({"projects": {str(Path.cwd()): trusted}}))


def _mcp_server(name: str, server: Any) -> dict[str, Any]:
    if not isinstance(server, dict) or ("url" in server) == ("command" in server):
        raise EngineError(f'The MCP server "{name}" needs either a url or a command')
    if "type" in server:
        return server
    if "command" in server:
        return {"type": "stdio", **server}
    path = str(server["url"]).partition("?")[0].rstrip("/")
    return {"type": "sse" if path.endswith("/sse") else "http", **server}


def subagents(launch: Launch) -> dict[str, dict[str, Any]]:
    agents = launch.subagents or {}
    for name, agent in agents.items():
        if not isinstance(agent, dict) or not {"description", "prompt"} <= agent.keys():
            raise EngineError(f'The subagent "{name}" needs a description and a prompt')
    return agents


def thinking(launch: Launch) -> dict[str, Any] | None:
    """The thinking option in the SDK's spelling; clients may also write `budgetTokens`."""
    asked = launch.thinking
    if asked is None:
        return None
    match asked.get("type"):
        case "adaptive" | "disabled":
            return dict(asked)
        case "enabled":
            budget = asked.get("budget_tokens", asked.get("budgetTokens"))
            if isinstance(budget, int):
                return {**asked, "budget_tokens": budget}
            raise EngineError('thinking of type "enabled" needs budgetTokens, a number')
        case other:
            raise EngineError(
                f"thinking must have the type adaptive, enabled or disabled, not {other!r}"
            )


def output_schema(launch: Launch) -> dict[str, Any] | None:
    asked = launch.output_format
    if asked is None:
        return None
    schema = asked.get("schema")
    if asked.get("type") == "json_schema" and isinstance(schema, dict):
        return schema
    raise EngineError('outputFormat must be {"type": "json_schema", "schema": {…}}')
