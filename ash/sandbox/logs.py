"""Turns what a process prints into lines of its session's log."""

from collections.abc import Awaitable, Callable, Sequence

import trio

from ash.model import LogLevel

LogSink = Callable[[Sequence[tuple[LogLevel, str]]], Awaitable[None]]

# A line longer than this is cut into several: a program that never ends its line can't make
# the daemon keep it.
MAX_TEXT = 16 * 1024


async def pump(stream: trio.abc.ReceiveStream, level: LogLevel, sink: LogSink) -> None:
    """Reads until the end. While the sink is busy the program that prints has to wait."""
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


def _texts(line: bytes) -> list[str]:
    parts = [line[i : i + MAX_TEXT] for i in range(0, len(line), MAX_TEXT)] or [b""]
    return [part.decode(errors="replace").rstrip("\r") for part in parts]
