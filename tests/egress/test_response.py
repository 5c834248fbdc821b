"""How an answer's body is read, and how secrets are removed from it."""

from itertools import pairwise

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from ash.egress.response import Scrub, each_chunk


class Chunks:
    """Nested generators, as HTTP clients have them; the inner one sets `closed`."""

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


async def test_each_chunk_takes_every_chunk_in_order():
    """All chunks are taken, one at a time."""
    chunks, taken = Chunks(3), []

    async def take(chunk):
        taken.append(chunk)

    await each_chunk(chunks.outer(), take)
    assert [b"0", b"1", b"2"] == taken


async def test_each_chunk_closes_all_generators_when_taking_fails():
    """The error of `take` is raised, and no generator is left open."""
    chunks = Chunks(100)

    async def take(chunk):
        raise trio.BrokenResourceError(chunk.decode())

    with pytest.raises(trio.BrokenResourceError, match=r"^0$"):
        await each_chunk(chunks.outer(), take)
    assert chunks.closed


async def test_each_chunk_closes_all_generators_when_taking_is_cancelled():
    """Cancelling `take` ends the reading too."""
    chunks = Chunks(100)

    async def take(chunk):
        await trio.sleep_forever()

    with trio.move_on_after(0) as waiting:
        await each_chunk(chunks.outer(), take)
    assert waiting.cancelled_caught
    assert chunks.closed


SECRET = b"sk-ant-0123456789"


def through(scrub, chunks):
    return [*map(scrub.feed, chunks), scrub.rest()]


@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(0, 97), max_size=9))
def test_scrub_hides_a_secret_wherever_the_chunks_are_cut(before, after, cuts):
    """A secret is replaced by as many asterisks, whatever the text and the chunks."""
    data = before + SECRET + after
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[a:b] for a, b in pairwise(edges)]
    out = b"".join(through(Scrub([SECRET]), chunks))
    assert data.replace(SECRET, b"*" * len(SECRET)) == out


@given(st.lists(st.binary(max_size=30)))
def test_scrub_changes_nothing_else(chunks):
    """Data without a secret comes out unchanged."""
    assert b"".join(chunks) == b"".join(through(Scrub([SECRET]), chunks))


def test_scrub_holds_nothing_back_after_a_line():
    """A chunk that ends with a line feed, as each event of a stream does, comes out at once."""
    assert b"data: {}\n\n" == Scrub([SECRET]).feed(b"data: {}\n\n")


def test_scrub_holds_back_the_same_whether_a_guess_is_right():
    """The cuts of the output are the same, whether a guess begins the secret or not."""
    guesses = [b"sk-ant-0123456", b"sk-ant-0123457", b"something else"]
    out = [len(Scrub([SECRET]).feed(b"x" * 100 + guess)) for guess in guesses]
    assert [100 + 14 - len(SECRET) + 1] * 3 == out


def test_scrub_of_no_secret_holds_nothing_back():
    """Without a secret, or with one that is too short, all comes out at once."""
    assert b"abc" == Scrub([]).feed(b"abc")
    assert b"the key" == Scrub([b"key"]).feed(b"the key")


def test_scrub_of_one_secret_in_another_hides_both():
    """The longer secret is replaced first, so that no part of it is left."""
    secrets = [b"0123456789", b"Bearer 0123456789"]
    assert b"*" * 17 == Scrub(secrets).whole(b"Bearer 0123456789")
