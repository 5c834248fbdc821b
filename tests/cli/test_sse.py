"""Event streams are read whatever their bytes are cut into."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.cli.sse import Frame, frames

STREAM = (
    b": ping\n\n"
    b'id: 7\nevent: text_delta\ndata: {"delta":"a\xe2\x80\xa8\xc2\x85b"}\n\n'
    b"event:done\r\ndata:{}\r\n\r\n"
    b"data: one\ndata: two\n\n"
    b"event: nothing\n\n"
    b"event: cut\ndata: x\n"
)
EXPECTED = [
    Frame("text_delta", b'{"delta":"a\xe2\x80\xa8\xc2\x85b"}', "7"),
    Frame("done", b"{}"),
    Frame("message", b"one\ntwo"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_frames_cut_anywhere(cuts):
    """Any split of the stream gives the same frames; comments and cut-off events are none."""
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(edges)]

    assert list(frames(chunks)) == EXPECTED


def test_frames_as_they_come():
    """A frame is given when it has ended, without waiting for the next."""

    def chunks():
        yield b"event: a\ndata: 1\n\n"
        pytest.fail("the second chunk was asked for before the first frame was given")

    assert next(frames(chunks())) == Frame("a", b"1")


@pytest.mark.parametrize(("data", "expected"), [(b'{"a":1}', {"a": 1}), (b"[1]", {})])
def test_frame_json(data, expected):
    """Frames hold objects; what is none counts as an empty one."""
    assert expected == Frame("x", data).json()
