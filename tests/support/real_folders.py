"""Three agent folders as people have them, and what `claude` itself makes of a folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import claude_agent_sdk

FOLDERS = Path(__file__).parents[1] / "fixtures" / "agents"
CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"

_QUIET = {
    "IS_SANDBOX": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "DISABLE_AUTOUPDATER": "1",
}


def copied(name: str, target: Path) -> Path:
    """A copy of the folder with what can't be kept in a repository: `.git`, `.venv`, a pipe."""
    folder = shutil.copytree(FOLDERS / name, target / name, symlinks=True)
    if name == "coding-agent":
        _make_repository(folder)
    if name == "research-agent":
        _make_venv(folder / ".venv")
    return folder


def _make_repository(folder: Path) -> None:
    who = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", "-C", str(folder), *command], check=True)


def _make_venv(folder: Path) -> None:
    """As `python -m venv` does: links that lead out of the folder."""
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    (folder / "lib64").symlink_to("lib")


def claude_in(folder: Path, home: Path, model_url: str) -> dict[str, Any]:
    """What `claude` says of itself when it starts in that folder: its `init` message."""
    env = {
        **_QUIET,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "sk-right",
    }
    flags = ["--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
    done = subprocess.run(
        [str(CLI), "-p", "hello", *flags],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    return init_of([json.loads(line) for line in done.stdout.splitlines()])


def init_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return next(message for message in messages if message.get("subtype") == "init")


def abilities(init: dict[str, Any]) -> dict[str, Any]:
    """What the agent can do there, in an order of its own."""
    servers = [(server["name"], server["status"]) for server in init["mcp_servers"]]
    names = {key: sorted(init[key]) for key in ("tools", "slash_commands", "agents", "skills")}
    return {**names, "mcp_servers": sorted(servers)}
