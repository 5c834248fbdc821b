"""Bytes both ways between two streams, each direction ending for itself."""

from collections.abc import Callable

import trio

from ash.sandbox.egress.client import CHUNK
from ash.sandbox.egress.traffic import Traffic

# Longer than the pauses of anything that is kept open for good reason: WebSockets, event
# streams and SSH ping. A half-closed connection that nobody finishes is ended by it too.
IDLE_SECONDS = 900


async def join(
    inner: trio.abc.HalfCloseableStream, outer: trio.abc.HalfCloseableStream, traffic: Traffic
) -> None:
    """Returns when both directions have ended, one is broken, or nothing moves any more.

    The streams stay the caller's.
    """

    def sent(count: int) -> None:
        traffic.sent += count
        scope.deadline = trio.current_time() + IDLE_SECONDS

    def received(count: int) -> None:
        traffic.received += count
        scope.deadline = trio.current_time() + IDLE_SECONDS

    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        scope.deadline = trio.current_time() + IDLE_SECONDS
        nursery.start_soon(_pump, inner, outer, sent, scope)
        nursery.start_soon(_pump, outer, inner, received, scope)


async def _pump(
    source: trio.abc.HalfCloseableStream,
    sink: trio.abc.HalfCloseableStream,
    count: Callable[[int], None],
    both: trio.CancelScope,
) -> None:
    try:
        while chunk := await source.receive_some(CHUNK):
            count(len(chunk))
            await sink.send_all(chunk)
        await sink.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        both.cancel()
