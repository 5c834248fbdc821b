import pytest
import trio

from ash.egress.headers import each_chunk


class Chunks:
    """One generator in another, as HTTP clients have them; `closed` is set by the inner one."""

    def __init__(self, count):
        self.count = count
        self.closed = False

    async def inner(self):
        try:
            for number in range(self.count):
                await trio.lowlevel.checkpoint()
                yield b"%d" % number
        finally:
            self.closed = True

    async def outer(self):
        async for chunk in self.inner():
            yield chunk


async def test_each_gives_every_chunk_in_order():
    """All chunks are taken, one at a time."""
    chunks, taken = Chunks(3), []

    async def take(chunk):
        taken.append(chunk)

    await each_chunk(chunks.outer(), take)
    assert [b"0", b"1", b"2"] == taken


async def test_each_closes_all_generators_when_taking_fails():
    """What the taker raises comes out, and nothing is left to the garbage collector."""
    chunks = Chunks(100)

    async def take(chunk):
        raise trio.BrokenResourceError(chunk.decode())

    with pytest.raises(trio.BrokenResourceError, match=r"^0$"):
        await each_chunk(chunks.outer(), take)
    assert chunks.closed


async def test_each_closes_all_generators_when_taking_is_cancelled():
    """A taker that is cancelled while it waits ends the reading too."""
    chunks = Chunks(100)

    async def take(chunk):
        await trio.sleep_forever()

    with trio.move_on_after(0) as waiting:
        await each_chunk(chunks.outer(), take)
    assert waiting.cancelled_caught
    assert chunks.closed
