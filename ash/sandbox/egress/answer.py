"""What came back from outside, on its way in."""

from collections.abc import AsyncIterator, Awaitable, Callable

import trio
from msgspec import Struct

from ash.sandbox.egress.headers import Headers


class UpstreamResponse(Struct):
    """`headers` are those to pass on; `chunks` is read once, by `each`."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


async def each(chunks: AsyncIterator[bytes], take: Callable[[bytes], Awaitable[None]]) -> None:
    """Gives `take` each chunk as it comes; what it raises ends the reading and comes out.

    Reading ends by cancellation of the next read. An HTTP client's generators that are left
    between two chunks, one in the other, would be closed by the garbage collector some time.
    """
    failure: BaseException | None = None
    with trio.CancelScope() as reading:
        async for chunk in chunks:
            if failure is None:
                try:
                    await take(chunk)
                except BaseException as error:  # noqa: BLE001 - raised again below
                    failure = error
                    reading.cancel()
    if failure is not None:
        raise failure
