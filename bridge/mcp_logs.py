"""Passes on what MCP servers print on stderr, from the files in which the CLI keeps it."""

from contextlib import suppress
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
        self._read = {file: _size(file) for file in Path.home().glob(_LOGS)}

    async def pass_on(self) -> None:
        """Writes what is new since the last call."""
        for line in await trio.to_thread.run_sync(self._new_lines):
            self._write_log(line)

    def _new_lines(self) -> list[str]:
        lines: list[str] = []
        for file in sorted(Path.home().glob(_LOGS)):
            # The agent may have put anything there, or removed it meanwhile.
            with suppress(OSError):
                lines += self._lines_of(file) if file.is_file() else []
        return lines

    def _lines_of(self, path: Path) -> list[str]:
        begun = self._read.get(path, 0)
        with path.open("rb") as file:
            file.seek(begun)
            chunk = file.read(_CHUNK)
        whole = chunk[: chunk.rfind(b"\n") + 1]
        # A line that is longer is skipped: nothing behind it would ever be read.
        self._read[path] = begun + (len(whole) or len(chunk) // _CHUNK * _CHUNK)
        server = path.parent.name.removeprefix(_PREFIX)
        said = [text for entry in whole.splitlines() for text in _errors_in(entry)]
        return [f"MCP server {server}: {text}" for text in said]


def _size(file: Path) -> int:
    """0 if it has just been removed."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _errors_in(entry: bytes) -> list[str]:
    try:
        text = _decode(entry).error
    except ValueError:
        return []
    return text.removeprefix("Server stderr: ")[:_ENTRY].splitlines()
