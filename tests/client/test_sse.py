"""Event streams are read whatever their bytes are cut into."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.client.sse import Event, Reader

STREAM = (
    b": ping\n\n"
    b'id: 7\nevent: text_delta\ndata: {"delta":"a\xe2\x80\xa8\xc2\x85b"}\n\n'
    b"event:done\r\ndata:{}\r\n\r\n"
    b"data: one\ndata: two\n\n"
    b"event: nothing\n\n"
    b"event: cut\ndata: x\n"
)
EXPECTED = [
    Event("text_delta", b'{"delta":"a\xe2\x80\xa8\xc2\x85b"}', 7),
    Event("done", b"{}"),
    Event("message", b"one\ntwo"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_frames_cut_anywhere(cuts):
    """Any split of the stream gives the same frames; comments and cut-off events are none."""
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in pairwise(edges)]

    reader = Reader()

    assert EXPECTED == [event for chunk in chunks for event in reader.feed(chunk)]


def test_last_id_of_a_block_without_data():
    """A block with nothing but an id moves the cursor; one that was cut off does not."""
    reader = Reader()

    assert [] == list(reader.feed(b": stream\nretry: 1000\nid: 41\n\nid: 42\ndata: x\n"))

    assert (41, 1) == (reader.last_id, reader.blocks)


@pytest.mark.parametrize("text", [b"a", b"-1", b"1.0", "²".encode(), b"1" * 17, b""])
def test_id_that_is_no_number(text):
    """It is none that could be asked for: the frame counts, its id does not."""
    reader = Reader()

    assert [Event("x", b"1")] == list(reader.feed(b"id: %s\nevent: x\ndata: 1\n\n" % text))

    assert reader.last_id is None


@pytest.mark.parametrize(("data", "expected"), [(b'{"a":1}', {"a": 1}), (b"[1]", {})])
def test_frame_json(data, expected):
    """Frames hold objects; what is none counts as an empty one."""
    assert expected == Event("x", data).json()
