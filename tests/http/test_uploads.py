"""Uploads are taken apart piece by piece, and mean what a JSON decoder makes of them."""

import base64
import json
import os
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash.errors import BadRequest
from ash.http import large_bodies
from ash.http.large_bodies import LONG, STEP, lift
from ash.http.uploads import _parse
from ash.requests.base64_text import PIECE

MARK = b"mark"


def put_back(rest, lifted):
    """The opposite of `lift`."""
    for number in reversed(range(len(lifted))):
        rest = rest.replace(b"%s%d" % (MARK, number), bytes(lifted[number]))
    return bytes(rest)


def parse(body):
    """The paths and contents of an upload."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found, folder = _parse(bytearray(data))
    return {upload.path: b"".join(upload.content) for upload in found}, folder


def one(content):
    return {"files": [{"path": "a", "content": content}]}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.text().map(lambda text: text * 50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(value=json_values, ascii_only=st.booleans(), long=st.integers(1, 60), step=st.integers(1, 9))
def test_what_is_lifted_can_be_put_back(value, ascii_only, long, step):
    """Whatever the JSON, its long strings and the rest are all of it, escapes and all."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    before = large_bodies.LONG, large_bodies.STEP
    large_bodies.LONG, large_bodies.STEP = long, step
    try:
        rest, lifted = lift(bytearray(body), MARK)
    finally:
        large_bodies.LONG, large_bodies.STEP = before
    assert body == put_back(rest, lifted)
    assert all(len(text) >= long for text in lifted)


@given(body=st.binary() | st.text(alphabet='"\\a[').map(str.encode))
def test_what_is_no_json_is_left_as_it_is(body):
    """Broken bytes are not made whole: the decoder finds them as they came."""
    before = large_bodies.LONG
    large_bodies.LONG = 3
    try:
        rest, lifted = lift(bytearray(body), MARK)
    finally:
        large_bodies.LONG = before
    assert body == put_back(rest, lifted)


def test_long_string_is_lifted_and_short_ones_stay():
    """Only what is long is taken out; what is left is small."""
    body = bytearray(json.dumps(["x" * (LONG - 1), "y" * LONG, "z"]).encode())
    rest, lifted = lift(body, MARK)
    assert [b"y" * LONG] == [bytes(text) for text in lifted]
    assert ["x" * (LONG - 1), "mark0", "z"] == json.loads(rest)


def test_string_longer_than_a_step_is_lifted():
    """A quote is found however far it is."""
    _, lifted = lift(bytearray(b'"' + b"x" * (3 * STEP) + b'"'), MARK)
    assert [3 * STEP] == [len(text) for text in lifted]


def test_quotes_without_end_are_given_up(monkeypatch):
    """A body of nothing but quotes doesn't keep a thread busy for long."""
    monkeypatch.setattr(large_bodies, "MAX_STRINGS", 10)
    body = bytearray(b'"",' * 10 + b'"' + b"x" * LONG + b'"')
    rest, lifted = lift(body, MARK)
    assert (body, []) == (rest, lifted)


SIZES = [0, 1, 2, 3, 4, LONG * 3 // 4 - 1, LONG * 3 // 4, PIECE, PIECE * 3 // 4, PIECE * 3 // 4 + 1]


@pytest.mark.parametrize("size", [*SIZES, 1_000_000])
def test_content_of_any_size_is_what_was_encoded(size):
    """Short and long contents, whole pieces and parts of one come out as they went in."""
    content = os.urandom(size)
    found, _ = parse(one(base64.b64encode(content).decode()))
    assert {"a": content} == found


def test_size_is_known_before_anything_is_decoded():
    """The size is told from the length of the text and its padding."""
    for size in SIZES:
        body = json.dumps(one(base64.b64encode(bytes(size)).decode())).encode()
        [upload], _ = _parse(bytearray(body))
        assert size == upload.size


@pytest.mark.parametrize("size", [30, 100_000])
def test_escaped_content_means_the_same(size):
    """Some clients write `/` as `\\/` or `+` as an escape, in short texts and in long ones."""
    content = (b"\xff\xef\xbe" * size)[:size]
    text = json.dumps(base64.b64encode(content).decode())
    for plain, escape in (("/", "\\/"), ("+", "\\u002b")):
        body = json.dumps(one("HERE")).replace('"HERE"', text.replace(plain, escape))
        assert {"a": content} == parse(body.encode())[0]


@pytest.mark.parametrize(
    "text",
    [
        "=",
        "a",
        "abc=d",
        "ab==abcd",
        "abcd=",
        "ü",
        "x" * (PIECE - 2) + "==" + "abcd",
        "x" * PIECE + "a",
        "x" * PIECE + "!bcd",
        "abcd" * PIECE + "\u20ac",
    ],
)
def test_content_that_is_not_base64_is_refused(text):
    """Padding in the middle, or another character: what is not base64 is no content."""
    with pytest.raises(BadRequest, match='content of "a" is not base64'):
        parse(one(text))


@pytest.mark.parametrize("size", [1, 2, 3, 100, PIECE])
@pytest.mark.parametrize(
    "encode",
    [
        base64.encodebytes,
        base64.urlsafe_b64encode,
        lambda data: base64.b64encode(data).rstrip(b"="),
    ],
    ids=["with line ends", "url-safe", "without padding"],
)
def test_base64_comes_in_other_forms(encode, size):
    """Line ends, the url-safe alphabet and missing padding change neither content nor size."""
    content = (b"\xff\xef\xbe" * size)[:size]
    body = json.dumps(one(encode(content).decode())).encode()
    assert {"a": content} == parse(body)[0]
    assert size == _parse(bytearray(body))[0][0].size


def test_content_can_not_stand_for_that_of_another_file():
    """What a long content is replaced by is not known to clients: a text is what it says."""
    secret = base64.b64encode(bytes(LONG)).decode()
    files = [
        {"path": "long", "content": secret},
        {"path": "guess", "content": "mark0"},
        {"path": "number", "content": "0000"},
    ]
    [long, guess, number], _ = _parse(bytearray(json.dumps({"files": files}).encode()))
    assert bytes(LONG) == b"".join(long.content)
    assert b"\xd3\x4d\x34" == b"".join(number.content)
    with pytest.raises(BadRequest):
        b"".join(guess.content)


def test_marks_are_different_each_time(monkeypatch):
    """What replaces a long content is made anew for each body."""
    marks = []

    def spy(body, mark):
        marks.append(mark)
        return lift(body, mark)

    monkeypatch.setattr("ash.http.large_bodies.lift", spy)
    for _ in range(3):
        parse(one(""))
    assert all(first != second for first, second in pairwise(marks))


@pytest.mark.parametrize(
    "body",
    [
        {"files": [{"path": "p" * LONG, "content": ""}]},
        {"targetPath": "p" * LONG, **one("")},
    ],
)
def test_path_as_long_as_a_content_is_refused(body):
    """A long string that is no content is refused, and not taken for what replaces it."""
    with pytest.raises(BadRequest, match="A path is longer than"):
        parse(body)


def test_folder_is_read_wherever_it_stands():
    """`targetPath` may come before or after the files; it is empty if it is not there."""
    for body in ({"targetPath": "t", **one("")}, {**one(""), "targetPath": "t"}):
        assert "t" == parse(body)[1]
    assert "" == parse(one(""))[1]


def test_broken_json_is_refused():
    """What is not JSON is a 400, also if there is a long string in it."""
    for body in (b"[", b'{"files":', b'{"files":"' + b"x" * LONG, b"\xff" * LONG):
        with pytest.raises(BadRequest):
            parse(body)
