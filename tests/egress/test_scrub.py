from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ash.egress.headers import Scrub

SECRET = b"sk-ant-0123456789"


def through(scrub, chunks):
    return [*map(scrub.feed, chunks), scrub.rest()]


@given(st.binary(max_size=40), st.binary(max_size=40), st.lists(st.integers(0, 97), max_size=9))
def test_scrub_hides_a_secret_wherever_the_chunks_are_cut(before, after, cuts):
    """Any text with a secret, in any chunks, comes out with as many asterisks in its place."""
    data = before + SECRET + after
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    chunks = [data[a:b] for a, b in pairwise(edges)]
    out = b"".join(through(Scrub([SECRET]), chunks))
    assert data.replace(SECRET, b"*" * len(SECRET)) == out


@given(st.lists(st.binary(max_size=30)))
def test_scrub_changes_nothing_else(chunks):
    """What is no secret comes out as it went in."""
    assert b"".join(chunks) == b"".join(through(Scrub([SECRET]), chunks))


def test_scrub_holds_nothing_back_after_a_line():
    """A chunk that ends a line, as each event of a stream does, comes out at once."""
    assert b"data: {}\n\n" == Scrub([SECRET]).feed(b"data: {}\n\n")


def test_scrub_holds_back_alike_what_begins_a_secret_and_what_does_not():
    """How chunks are cut tells nothing about the secret to those who know the text."""
    guesses = [b"sk-ant-0123456", b"sk-ant-0123457", b"something else"]
    out = [len(Scrub([SECRET]).feed(b"x" * 100 + guess)) for guess in guesses]
    assert [100 + 14 - len(SECRET) + 1] * 3 == out


def test_scrub_of_no_secret_holds_nothing_back():
    """Without a secret, or with one that is too short to be one, all comes out at once."""
    assert b"abc" == Scrub([]).feed(b"abc")
    assert b"the key" == Scrub([b"key"]).feed(b"the key")


def test_scrub_of_one_secret_in_another_hides_both():
    """The longer one is hidden first, so that no part of it is left."""
    secrets = [b"0123456789", b"Bearer 0123456789"]
    assert b"*" * 17 == Scrub(secrets).whole(b"Bearer 0123456789")
