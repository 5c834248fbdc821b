"""An answer from outside on its way into the sandbox: its body, without secrets."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import trio
from msgspec import Struct

from ash.egress.headers import Headers

# A shorter value is not treated as a secret, because it might be an ordinary word of the answer.
MIN_SECRET = 8


class UpstreamResponse(Struct):
    """An answer to pass on. `chunks` is its body, which `each_chunk` reads, once."""

    status: int
    headers: Headers
    chunks: AsyncIterator[bytes]


async def each_chunk(
    chunks: AsyncIterator[bytes], take: Callable[[bytes], Awaitable[None]]
) -> None:
    """Calls `take` with each chunk as it comes; an error of `take` ends the reading and is raised.

    The reading is ended by cancelling the next read. Just leaving the loop would leave an HTTP
    client's nested generators open until the garbage collector closes them.
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


class Scrub:
    """Replaces each secret in a stream by as many asterisks.

    Sans-IO: feed it the chunks, and take the rest at the end. A secret may be cut by the end of a
    chunk, so some bytes are held back until the next one: all after the last line feed (no secret
    contains one), but at most one byte less than the longest secret has. This rule does not
    depend on the bytes themselves. If bytes were held back only where a secret seems to begin, an
    agent could guess the secret byte by byte from how the chunks are cut.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = sorted((s for s in secrets if len(s) >= MIN_SECRET), key=len, reverse=True)
        self._hold = max(map(len, self._secrets), default=1) - 1
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        data = self.whole(self._held + chunk)
        cut = max(data.rfind(b"\n") + 1, len(data) - self._hold)
        self._held = data[cut:]
        return data[:cut]

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest

    def whole(self, data: bytes) -> bytes:
        """Replaces the secrets in data that is complete."""
        for secret in self._secrets:
            data = data.replace(secret, b"*" * len(secret))
        return data
