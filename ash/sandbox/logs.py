"""Turns what a process prints into lines of its session's log."""

import math
from collections.abc import Sequence

import trio

from ash.log import get_logger
from ash.model import LogLevel, LogSink

log = get_logger()

# A longer line is cut into several, so that a program that never ends its line can't make the
# daemon keep all of it.
MAX_TEXT = 16 * 1024

# What a program may print on and on, in lines and bytes a second, and what it may print at once
# after it was quiet. The daemon would spend all its time on a program that prints without end.
LINES_PER_SECOND, LINES_AT_ONCE = 200, 2000
BYTES_PER_SECOND, BYTES_AT_ONCE = 256 * 1024, 2 * 1024 * 1024

# What is kept of what a script of the agent printed: its end, as it tells why the script failed.
SCRIPT_LINES, SCRIPT_BYTES = 1000, 128 * 1024


class SessionLogWriter:
    """Gives lines to a sink that may fail. A failure ends neither the sandbox nor the turn.

    Lines that the sink did not take are counted. The next line that it takes says how many.
    """

    def __init__(self, sink: LogSink, sandbox: str) -> None:
        self._sink = sink
        self._sandbox = sandbox
        self.missing = 0
        self._failing = False

    async def write(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        """Without lines, names those that are missing. Raises nothing but Cancelled."""
        missing, self.missing = self.missing, 0
        if not lines and not missing:
            return
        try:
            await self._sink([*_gap(missing), *lines])
        except Exception:
            self.missing += missing + len(lines)
            if not self._failing:
                log.exception("sandbox.log_lost", sandbox=self._sandbox)
            self._failing = True
        else:
            self._failing = False


async def pump(stream: trio.abc.ReceiveStream, level: LogLevel, sink: LogSink) -> None:
    """Reads until the end. While the sink is busy, the program that prints waits.

    Of a program that prints too much, some is left out, and how many lines is said.
    """
    rest, rate = b"", LogRate()
    try:
        while chunk := await stream.receive_some(64 * 1024):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > MAX_TEXT:
                lines, rest = [*lines, rest], b""
            missing, lines = rate.allowed(lines, trio.current_time())
            if lines or missing:
                texts: list[tuple[LogLevel, str]] = [
                    (level, text) for line in lines for text in _texts(line)
                ]
                await sink([*_too_fast(missing), *texts])
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    missing = rate.missing
    if rest or missing:
        last: list[tuple[LogLevel, str]] = [(level, text) for text in _texts(rest) if rest]
        await sink([*_too_fast(missing), *last])


class LogRate:
    """What a program may print: two buckets, one for lines and one for bytes, that fill again.

    When one is empty, all is left out until both are half full: what is kept can then be read.
    """

    def __init__(self) -> None:
        self._lines = float(LINES_AT_ONCE)
        self._bytes = float(BYTES_AT_ONCE)
        self._at = -math.inf
        self.missing = 0

    def allowed(self, lines: list[bytes], now: float) -> tuple[int, list[bytes]]:
        """The lines that are kept, and how many were left out before them."""
        passed, self._at = now - self._at, now
        self._lines = min(self._lines + passed * LINES_PER_SECOND, LINES_AT_ONCE)
        self._bytes = min(self._bytes + passed * BYTES_PER_SECOND, BYTES_AT_ONCE)
        waits = self._lines < LINES_AT_ONCE / 2 or self._bytes < BYTES_AT_ONCE / 2
        kept = [] if self.missing and waits else self._fitting(lines)
        missing = self.missing if kept else 0
        self.missing += len(lines) - len(kept) - missing
        return missing, kept

    def _fitting(self, lines: list[bytes]) -> list[bytes]:
        for number, line in enumerate(lines):
            self._lines -= 1
            self._bytes -= len(line)
            if self._lines < 0 or self._bytes < 0:
                return lines[:number]
        return lines


def end_of(level: LogLevel, printed: str) -> list[tuple[LogLevel, str]]:
    """The last lines of what a script has printed. Says so if that is not all."""
    lines = printed[-SCRIPT_BYTES:].splitlines()
    kept: list[tuple[LogLevel, str]] = [(level, line) for line in lines[-SCRIPT_LINES:]]
    if len(printed) > SCRIPT_BYTES or len(lines) > SCRIPT_LINES:
        kept.insert(0, ("system", f"Only the last {len(kept)} lines of {level} follow"))
    return kept


def _too_fast(missing: int) -> list[tuple[LogLevel, str]]:
    if not missing:
        return []
    return [("system", f"Lines missing here, as they came too fast: {missing}")]


def _gap(missing: int) -> list[tuple[LogLevel, str]]:
    if not missing:
        return []
    return [("system", f"Lines missing here, as they could not be stored: {missing}")]


def _texts(line: bytes) -> list[str]:
    parts = [line[i : i + MAX_TEXT] for i in range(0, len(line), MAX_TEXT)] or [b""]
    return [part.decode(errors="replace").rstrip("\r") for part in parts]
