"""The bounds of what is asked for: the last value that is taken, and the first that is not."""

import pytest
import trio

from ash.errors import BadRequest, TooLarge, Unavailable
from ash.http.front import _body
from ash.http.large_bodies import held
from ash.requests.messages import MAX_BODY, message_query
from ash.requests.parsing import (
    MAX_NUMBER,
    encode,
    event_page,
    log_page,
    message_page,
    session_page,
    whole_number,
)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


def test_value_that_is_nested_too_deeply_is_refused():
    """A script that embeds ash is told as one that speaks HTTP is."""
    with pytest.raises(BadRequest) as refused:
        encode({"config": nested(100_000)})
    assert "The body is nested too deeply" == refused.value.text
    assert b'{"a":[[[]]]}' == encode({"a": nested(2)})


def test_empty_filter_is_none():
    """Forms send a field that nobody has filled in."""
    empty = {"agent": "", "type": ""}.get
    assert (None, None) == (session_page(empty)["agent"], event_page(empty)["kind"])


@pytest.mark.parametrize(
    ("page", "name", "least", "most"),
    [
        (session_page, "limit", 1, 1000),
        (session_page, "offset", 0, MAX_NUMBER),
        (message_page, "limit", 1, 1000),
        (message_page, "after", 0, MAX_NUMBER),
        (event_page, "limit", 1, 1000),
        (event_page, "after", 0, MAX_NUMBER),
        (log_page, "after", -1, MAX_NUMBER),
    ],
)
def test_number_of_a_page_has_a_least_and_a_most(page, name, least, most):
    """Both are taken, what lies beyond is refused with the range."""
    for number in (least, most):
        assert number == page({name: str(number)}.get)[name]
    for number in (least - 1, most + 1):
        with pytest.raises(BadRequest) as refused:
            page({name: str(number)}.get)
        words = f'{name}: expected a whole number from {least} to {most}, got "{number}"'
        assert words == refused.value.text


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (session_page, {"agent": None, "status": None, "limit": 1000, "offset": 0}),
        (message_page, {"after": 0, "limit": 100}),
        (event_page, {"after": 0, "limit": 200, "kind": None}),
        (log_page, {"after": -1}),
    ],
)
def test_page_of_which_nothing_is_said_is_the_first(page, expected):
    """Nobody has to say what is usual."""
    assert expected == page({}.get)


def test_largest_number_is_what_javascript_holds():
    """One more could come back as another number."""
    assert 9_007_199_254_740_991 == whole_number({"n": "9007199254740991"}.get, "n", None)
    with pytest.raises(BadRequest):
        whole_number({"n": "9007199254740992"}.get, "n", None)


@pytest.mark.parametrize("given", ["1.0", "", "one", 1.5, b"1", [1], "1e3"])
def test_what_is_no_whole_number_is_refused(given):
    """As text, and as what a script may give."""
    with pytest.raises(BadRequest, match="expected a whole number from 0 to"):
        whole_number({"n": given}.get, "n", 0)


def body_of(*parts):
    """Receives these parts of a body, the last one as its last."""
    events = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    events[-1]["more_body"] = False

    async def receive():
        await trio.lowlevel.checkpoint()
        return events.pop(0)

    return receive


@pytest.mark.parametrize("parts", [[MAX_BODY], [MAX_BODY - 1, 1], [1, MAX_BODY - 1, 0]])
async def test_body_of_exactly_the_limit_is_read(parts):
    """50 MB, in one part or in several."""
    async with _body(body_of(*map(bytes, parts))) as body:
        assert MAX_BODY == len(body) == held.bytes
    assert 0 == held.bytes


@pytest.mark.parametrize("parts", [[MAX_BODY + 1], [MAX_BODY, 1]])
async def test_body_of_one_byte_more_is_refused(parts):
    """With the limit in the error."""
    with pytest.raises(TooLarge, match="larger than 50 MB"):
        async with _body(body_of(*map(bytes, parts))):
            pass
    assert 0 == held.bytes


async def test_messages_that_take_too_much_memory_together_are_refused(monkeypatch):
    """The client is told to come back, and what it sent is forgotten."""
    monkeypatch.setattr("ash.http.large_bodies.MAX_HELD", 3 * 1024 * 1024)
    two = bytes(2 * 1024 * 1024)
    async with _body(body_of(two)):
        with pytest.raises(Unavailable, match="too many large requests"):
            async with _body(body_of(two)):
                pass
        async with _body(body_of(b"small")) as body:
            assert b"small" == body
    assert 0 == held.bytes


def test_message_of_very_many_halves_of_characters_is_refused():
    """Mending them would take seconds, for which others wait."""
    body = b'{"content":"%s"}' % (b"\\ud800" * 600_000)
    with pytest.raises(BadRequest, match="too many escapes"):
        message_query("s", body)
