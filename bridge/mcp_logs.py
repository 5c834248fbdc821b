"""Passes on what MCP servers print on stderr, from the files in which the CLI keeps it."""

from pathlib import Path

import msgspec
import trio
from msgspec import Struct

from bridge.engine import WriteLog

_LOGS = ".cache/claude-cli-nodejs/*/mcp-logs-*/*.jsonl"
_PREFIX = "mcp-logs-"
# What is read of one file at a time, and how much of one entry is passed on.
_CHUNK = 64 * 1024
_ENTRY = 2000


class _Entry(Struct):
    error: str = ""


_decode = msgspec.json.Decoder(_Entry).decode


class McpLogs:
    """Those of the conversation's own time: files that were there before are left alone."""

    def __init__(self, write_log: WriteLog) -> None:
        self._write_log = write_log
        self._read = {file: file.stat().st_size for file in Path.home().glob(_LOGS)}

    async def pass_on(self) -> None:
        """Writes what is new since the last call."""
        for line in await trio.to_thread.run_sync(self._new_lines):
            self._write_log(line)

    def _new_lines(self) -> list[str]:
        return [line for file in sorted(Path.home().glob(_LOGS)) for line in self._lines_of(file)]

    def _lines_of(self, path: Path) -> list[str]:
        begun = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(begun)
            whole = file.read(_CHUNK).rpartition(b"\n")[0]
        self._read[path] = begun + len(whole) + bool(whole)
        server = path.parent.name.removeprefix(_PREFIX)
        said = [text for entry in whole.splitlines() for text in _errors_in(entry)]
        return [f"MCP server {server}: {text}" for text in said]


def _errors_in(entry: bytes) -> list[str]:
    try:
        text = _decode(entry).error
    except msgspec.DecodeError:
        return []
    return text.removeprefix("Server stderr: ")[:_ENTRY].splitlines()
