"""The CLI's process: an SDK starts it, this reads what it writes and ends it."""

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

# A CLI that has nothing to do ends within 0.1 s of its stdin; MCP servers may take longer.
CLOSE_SECONDS = 2.0
# For how and why it ended to become known, once its stdout has ended.
_OBITUARY_SECONDS = 1.0
_LAST_WORDS = 5


class CliLog:
    """The CLI's stderr: passed on line by line, and the last lines kept for its obituary."""

    def __init__(self, say: WriteLog) -> None:
        self._say = say
        self._last: deque[str] = deque(maxlen=_LAST_WORDS)
        self.ended = trio.Event()

    def add(self, line: str) -> None:
        self._last.append(line)
        self._say(line)

    @property
    def last_words(self) -> str:
        return f". It last said: {' / '.join(self._last)}" if self._last else ""


async def read_control_messages(
    process: Process | None, lines: RawLines, log: CliLog
) -> AsyncIterator[dict[str, Any]]:
    """For the SDK's reader. Raises EngineDied when the CLI has written its last line."""
    assert process is not None
    assert process.stdout is not None
    with suppress(anyio.ClosedResourceError):
        async for message in lines.control_messages(process.stdout):
            yield message
    lines.mark_dead(await _exit_reason(process, log))
    raise EngineDied(lines.dead)


async def end(
    process: Process | None, lines: RawLines, close: Callable[[], Awaitable[None]]
) -> None:
    """Ends the CLI: in peace when it does nothing, else at once, with all it has started.

    `close` is the SDK's own way to do it. It would wait for ten seconds, and for agents that
    work in the background for ten minutes.
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
    with anyio.move_on_after(_OBITUARY_SECONDS):
        status = await process.wait()
        how = f"exit code {status}" if status >= 0 else signal.Signals(-status).name
        await log.ended.wait()
    return f"The engine died ({how}){log.last_words}"
