"""What the real CLI says on the stub model, compared with the recordings of it.

`ASH_RECORD=1 pytest tests/testing/test_recordings.py` writes the recordings anew.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from ash.testing import StubModel

pytestmark = pytest.mark.cli

_FOLDER = Path(__file__).parent.parent / "fixtures" / "cli"

# Each name is a recording, each group of turns one CLI.
_GROUPS = msgspec.json.decode((_FOLDER / "scenarios.json").read_bytes())
_FLAGS = {
    "max_turns": "--max-turns",
    "max_budget_usd": "--max-budget-usd",
    "disallowed_tools": "--disallowedTools",
}

# The CLI sends this message at any time, or not at all.
_UNRELIABLE = "system thinking_tokens"


def _kind(message: dict[str, Any]) -> str:
    event = message.get("event", {})
    parts = [message["type"], message.get("subtype"), event.get("type")]
    parts += [event.get(name, {}).get("type") for name in ("content_block", "delta")]
    return " ".join(part for part in parts if part)


def _trimmed(value: Any, replacements: dict[str, str]) -> Any:
    """A message with the same shape but less content, and nothing of the recording machine."""
    if isinstance(value, dict):
        return {name: _trimmed(item, replacements) for name, item in value.items()}
    if isinstance(value, list):
        return [_trimmed(item, replacements) for item in value[:4]]
    if isinstance(value, str):
        for real, shown in replacements.items():
            value = value.replace(real, shown)
        return value if len(value) <= 400 else value[:400] + "…"
    return value


def _stops_at(name: str, fifo: Path) -> Callable[[dict[str, Any]], bool] | None:
    def in_text(message: dict[str, Any]) -> bool:
        return _kind(message).endswith("text_delta")

    def in_tool(message: dict[str, Any]) -> bool:
        if message["type"] != "assistant":
            return False
        fifo.read_text()  # returns when the command has got so far
        return True

    return {"interrupted-text": in_text, "interrupted-tool": in_tool}.get(name)


def _flags(launch: dict[str, Any]) -> list[str]:
    flags = []
    for name, value in launch.items():
        text = ",".join(value) if isinstance(value, list) else str(value)
        flags += [_FLAGS[name], text]
    return flags


@pytest.mark.parametrize("group", _GROUPS, ids=lambda group: " ".join(group["launch"]) or "plain")
async def test_recordings_match_the_cli(group, open_cli, tmp_path) -> None:
    """The CLI sends the same kinds of messages in the same order as each recording."""
    fifo = tmp_path / "workspace" / "begun"
    os.mkfifo(fifo)
    for_paths = {str(tmp_path / "workspace"): "/workspace", str(tmp_path / "home"): "/home/agent"}
    for_paths[str(tmp_path).replace("/", "-").replace("_", "-")] = ""
    said: dict[str, list[dict[str, Any]]] = {}
    with trio.fail_after(60):
        async with StubModel() as model, open_cli(model, *_flags(group["launch"])) as cli:
            for_paths[model.url.removeprefix("http://")] = "localhost"
            for name, text in group["turns"].items():
                messages = await cli.turn(text, _stops_at(name, fifo))
                kept = [message for message in messages if _kind(message) != _UNRELIABLE]
                said[name] = [_trimmed(message, for_paths) for message in kept]
    for name, messages in said.items():
        recording = _FOLDER / f"{name}.ndjson"
        if os.environ.get("ASH_RECORD"):
            recording.write_bytes(msgspec.json.Encoder().encode_lines(messages))
        recorded = map(msgspec.json.decode, recording.read_bytes().splitlines())
        assert [*map(_kind, recorded)] == [*map(_kind, messages)], name
