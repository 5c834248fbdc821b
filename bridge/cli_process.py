"""Reads what the CLI's process writes, and ends the process; an SDK starts it."""

import signal
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import trio
from anyio.abc import Process

from bridge.engine import EngineDied, WriteLog
from bridge.processes import kill_tree
from bridge.raw_lines import RawLines

# An idle CLI ends within 0.1 s once its stdin is closed; its MCP servers may take longer.
CLOSE_SECONDS = 2.0
# How long we wait, once stdout has ended, for the exit status and the rest of stderr.
_EXIT_SECONDS = 1.0
_KEPT_LINES = 5


class CliLog:
    """Passes on the CLI's stderr line by line, and keeps the last lines for the exit reason.

    `ended` is set when stderr has been read to its end.
    """

    def __init__(self, write_log: WriteLog) -> None:
        self._write_log = write_log
        self._last: deque[str] = deque(maxlen=_KEPT_LINES)
        self.ended = trio.Event()

    def add(self, line: str) -> None:
        self._last.append(line)
        self._write_log(line)

    @property
    def last_lines(self) -> str:
        return f". It last said: {' / '.join(self._last)}" if self._last else ""


async def read_control_messages(
    process: Process | None, lines: RawLines, log: CliLog
) -> AsyncIterator[dict[str, Any]]:
    """Yields the SDK's messages. Raises EngineDied when the CLI has written its last line."""
    assert process is not None
    assert process.stdout is not None
    with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
        async for message in lines.control_messages(process.stdout):
            yield message
    lines.mark_dead(await _exit_reason(process, log))
    raise EngineDied(lines.exit_reason)


async def end(
    process: Process | None, lines: RawLines, close: Callable[[], Awaitable[None]]
) -> None:
    """Ends the CLI. An idle one may exit by itself; a busy one is killed with its descendants.

    `close` is the SDK's own method. It comes last, because by itself it would wait ten seconds,
    or ten minutes if agents work in the background.
    """
    with anyio.CancelScope(shield=True):
        if process is not None and process.stdin is not None and lines.quiet:
            await process.stdin.aclose()
            with anyio.move_on_after(CLOSE_SECONDS):
                await process.wait()
        if process is not None and process.returncode is None:
            kill_tree(process.pid)
        await close()
        if process is not None:
            await process.aclose()


async def _exit_reason(process: Process, log: CliLog) -> str:
    how = "it closed its output"
    with anyio.move_on_after(_EXIT_SECONDS):
        status = await process.wait()
        how = f"exit code {status}" if status >= 0 else signal.Signals(-status).name
        await log.ended.wait()
    return f"The engine died ({how}){log.last_lines}"
