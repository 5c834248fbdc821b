"""Writes what the CLI is given in files: its system prompt, MCP servers and settings.

As arguments they would be limited to 128 KiB, and other processes could read them.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from msgspec import Struct

from bridge import prompt_file
from bridge.engine import EngineError, Launch, WriteLog
from bridge.prompt_file import SystemPrompt

_PROJECT_SETTINGS = ("settings.json", "settings.local.json")


class LaunchFiles(Struct, frozen=True):
    """All are in `folder`. None means that there is nothing to give."""

    folder: Path
    system_prompt: Path | None
    mcp_servers: Path | None
    settings: Path


def write_files(launch: Launch, folder: Path, write_log: WriteLog) -> LaunchFiles:
    """Blocks. Raises EngineError if an MCP server makes no sense or CLAUDE.md can't be read."""
    _trust_workspace()
    prompt = _system_prompt(launch, write_log)
    mcp_servers = None
    if launch.mcp_servers:
        servers = {name: _mcp_server(name, value) for name, value in launch.mcp_servers.items()}
        mcp_servers = _written(folder / "mcp.json", json.dumps({"mcpServers": servers}))
    return LaunchFiles(
        folder=folder,
        system_prompt=_written(folder / "system-prompt.md", prompt.text) if prompt else None,
        mcp_servers=mcp_servers,
        settings=_written(folder / "settings.json", json.dumps(_settings(prompt))),
    )


def _written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def _system_prompt(launch: Launch, write_log: WriteLog) -> SystemPrompt | None:
    """None means the CLI's own, or that of the subagent that leads, and CLAUDE.md as a memory.

    A subagent that leads is named in the settings, too: `--system-prompt` would win over it.
    """
    if launch.system_prompt:
        prompt = prompt_file.read(Path.cwd(), launch.system_prompt)
    elif launch.preset or launch.initial_agent or _in_settings("agent"):
        return None
    else:
        prompt = prompt_file.read(Path.cwd())
    if prompt:
        for sentence in prompt.left_out:
            write_log(f"{prompt_file.PROMPT_FILE}: {sentence}")
        if _in_settings("outputStyle"):
            write_log("outputStyle has no effect: it is for Claude Code's own system prompt")
    return prompt


def _in_settings(name: str) -> bool:
    """Whether one of the settings files says something under that name."""
    of_project = map(Path(".claude").joinpath, _PROJECT_SETTINGS)
    for file in (_config_folder() / "settings.json", *of_project):
        with suppress(OSError, ValueError, RecursionError, AttributeError):
            if file.is_file() and json.loads(file.read_bytes()).get(name):
                return True
    return False


def _settings(prompt: SystemPrompt | None) -> dict[str, Any]:
    """No memory from outside of the agent's own folders, and none of what the prompt has.

    The CLI adds these patterns to those of the agent's own settings.
    """
    own = ",".join(map(_pattern, (Path.cwd(), _config_folder(), Path.home())))
    sent = prompt.files if prompt else []
    return {"claudeMdExcludes": [f"!{{{own}}}/**", *map(_pattern, sent)]}


def _pattern(path: Path) -> str:
    """A pattern for this path. Nothing in a pattern can be escaped, so `*` stands for it."""
    return re.sub(r"[^\w/. -]+", "*", str(path.parent.resolve() / path.name))


def _config_folder() -> Path:
    return Path(os.environ.get("CLAUDE_CONFIG_DIR") or Path.home() / ".claude")


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
