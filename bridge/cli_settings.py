"""Translates a launch into the CLI's settings, as far as that is the same for both SDKs."""

import os
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from bridge import shell_prefix
from bridge.engine import EngineError, Launch

# All of them, because agents bring `.claude/settings.json`, rules, skills and `.mcp.json`.
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


def environment(launch: Launch, folder: Path) -> dict[str, str]:
    """The variables that the CLI gets in addition to the bridge's own environment."""
    env = {"CLAUDE_CODE_SDK_READS_SESSION_STATE": "1", **shell_prefix.write(folder)}
    if launch.betas:
        # The `--betas` flag takes only betas that the CLI knows, and the SDKs pass several as one.
        given = os.environ.get("ANTHROPIC_BETAS")
        env["ANTHROPIC_BETAS"] = ",".join([*([given] if given else []), *launch.betas])
    return env


def permission_flag(launch: Launch) -> str | None:
    """The CLI's permission mode; None leaves it to the agent's own settings."""
    mode = launch.permission_mode
    return None if mode == "permissionsByAgent" else mode


def extra_flags(launch: Launch, *, own_prompt: bool) -> dict[str, str | None]:
    """Flags that neither SDK has an option for. `own_prompt`: the system prompt is not the CLI's.

    The CLI records the system prompt with the conversation, and on a resume it would use the
    recorded one instead of the one given; the snapshot is off so that the given one counts.
    """
    flags: dict[str, str | None] = {"include-hook-events": None}
    if launch.initial_agent is not None:
        flags["agent"] = launch.initial_agent
    if launch.initial_agent is not None or own_prompt:
        flags["system-prompt-snapshot"] = "off"
    return flags


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
