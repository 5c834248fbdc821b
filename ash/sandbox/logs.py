"""Turns what a process prints into lines of its session's log."""

from collections.abc import Sequence

import trio

from ash.log import get_logger
from ash.model import LogLevel, LogSink

log = get_logger()

# A longer line is cut into several, so that a program that never ends its line can't make the
# daemon keep all of it.
MAX_TEXT = 16 * 1024


class SessionLogWriter:
    """Gives lines to a sink that may fail. A failure ends neither the sandbox nor the turn.

    Lines that the sink did not take are counted. The next line that it takes says how many.
    """

    def __init__(self, sink: LogSink, sandbox: str) -> None:
        self._sink = sink
        self._sandbox = sandbox
        self._missing = 0
        self._failing = False

    async def write(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        """Without lines, names those that are missing. Raises nothing but Cancelled."""
        missing, self._missing = self._missing, 0
        if not lines and not missing:
            return
        try:
            await self._sink([*_gap(missing), *lines])
        except Exception:
            self._missing += missing + len(lines)
            if not self._failing:
                log.exception("sandbox.log_lost", sandbox=self._sandbox)
            self._failing = True
        else:
            self._failing = False


async def pump(stream: trio.abc.ReceiveStream, level: LogLevel, sink: LogSink) -> None:
    """Reads until the end. While the sink is busy, the program that prints waits."""
    rest = b""
    try:
        while chunk := await stream.receive_some(64 * 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_TEXT:
                lines, rest = [*lines, rest], b""
            if lines:
                await sink([(level, text) for line in lines for text in _texts(line)])
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    if rest:
        await sink([(level, text) for text in _texts(rest)])


def _gap(missing: int) -> list[tuple[LogLevel, str]]:
    if not missing:
        return []
    return [("system", f"Lines missing here, as they could not be stored: {missing}")]


def _texts(line: bytes) -> list[str]:
    parts = [line[i : i + MAX_TEXT] for i in range(0, len(line), MAX_TEXT)] or [b""]
    return [part.decode(errors="replace").rstrip("\r") for part in parts]
