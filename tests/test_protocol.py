"""The lines between daemon and bridge."""

import json
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from ash import protocol
from ash.protocol import (
    EngineMessage,
    Exec,
    ExecResult,
    Failed,
    Interrupt,
    Lines,
    LineTooLong,
    Log,
    Open,
    Opened,
    Query,
    Ready,
    Resume,
    Shutdown,
    TurnDone,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)

COMMANDS = [
    Open(session_id="s", id="1", model="m", mcp_servers={"x": {"url": "http://x"}}),
    Resume(session_id="s", id="2", system_prompt="be brief", allowed_tools=["Bash"]),
    Query(prompt=Raw(b'"hi"'), session_id="s", max_turns=3, thinking={"type": "adaptive"}),
    Interrupt(id="3"),
    Exec(command="ls", id="4", timeout=5),
    Shutdown(),
]
EVENTS = [
    Ready(7),
    Opened("1"),
    EngineMessage(Raw(b'{"type":"assistant"}')),
    Failed("no", "1"),
    TurnDone("s", "1"),
    ExecResult(exit_code=124, stdout="out", stderr="err", id="4", timed_out=True, truncated=True),
    Log("stderr", "oh", 1.5),
]


def kind(thing):
    return type(thing).__name__


def split(data, cuts):
    """`data` in pieces, cut at each of `cuts`."""
    edges = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


def feed_all(lines, chunks):
    return [bytes(line) for chunk in chunks for line in lines.feed(chunk)]


@given(st.binary(), st.lists(st.integers(0, 200)))
def test_lines_are_the_same_wherever_the_bytes_are_split(data, cuts):
    """Any split of any bytes gives the lines of the whole, and leaves the same rest."""
    lines = Lines()
    *complete, rest = data.split(b"\n")
    assert [line for line in complete if line] == feed_all(lines, split(data, cuts))
    assert [line for line in [rest] if line] == feed_all(lines, [b"\n"])


@given(st.lists(JSON), st.lists(st.integers(0, 500)))
def test_messages_survive_any_split(messages, cuts):
    """What was encoded comes out as it was, however the socket cut it."""
    raws = [msgspec.json.encode(message) for message in messages]
    stream = b"".join(map(protocol.message_line, raws))
    got = [protocol.decode_event(line) for line in feed_all(Lines(), split(stream, cuts))]
    assert raws == [bytes(event.data) for event in got]


def test_lines_of_one_chunk_are_not_copied():
    """A line that lies within one chunk is a view of that chunk."""
    chunk = b"one\ntwo\n"
    assert [chunk, chunk] == [line.obj for line in Lines().feed(chunk)]


def test_blank_lines_are_left_out():
    """Nothing between two line feeds is no line, but white space is one."""
    assert [b"a", b" ", b"b"] == feed_all(Lines(), [b"\n\na\n", b"\n", b" \n\nb\n\n"])


def test_carriage_returns_and_other_line_ends_end_no_line():
    """Only a line feed ends a line: U+2028 and U+0085 are text in JSON."""
    text = "a\r\u2028\u0085b".encode()
    assert [text] == feed_all(Lines(), [text + b"\n"])


def test_line_of_the_limit_is_let_through():
    """The limit is the longest line that there may be, its line feed not counted."""
    assert [b"12345"] == feed_all(Lines(limit=5), [b"123", b"45\n"])


@pytest.mark.parametrize("chunks", [[b"123456"], [b"123", b"456"], [b"123456\n"]])
def test_line_over_the_limit_is_refused(chunks):
    """A line is refused as soon as it is too long, ended or not, and nothing of it is kept."""
    lines = Lines(limit=5)
    with pytest.raises(LineTooLong, match="longer than 5 bytes"):
        feed_all(lines, chunks)
    assert [b"ok"] == feed_all(lines, [b"\nok\n"])


@pytest.mark.parametrize("cut", range(15))
def test_lines_go_on_after_one_that_was_too_long(cut):
    """All of that line is dropped and told once; those before and behind it are read."""
    stream = b"one\n1234567\ntwo\n"
    lines, got, refusals = Lines(limit=5), [], 0
    for chunk in (stream[:cut], stream[cut:]):
        try:
            got += lines.feed(chunk)
        except LineTooLong as error:
            got += error.lines
            refusals += 1
    assert ([b"one", b"two"], 1) == (got, refusals)


@pytest.mark.parametrize("command", COMMANDS, ids=kind)
def test_command_comes_out_as_it_went_in(command):
    """Each command is one line of JSON that decodes to the same command."""
    line = protocol.encode(command)
    assert line.index(b"\n") == len(line) - 1
    assert command == protocol.decode_command(line)


@pytest.mark.parametrize("event", EVENTS, ids=kind)
def test_event_comes_out_as_it_went_in(event):
    """Each event is one line of JSON that decodes to the same event."""
    line = protocol.encode(event)
    assert line.index(b"\n") == len(line) - 1
    assert event == protocol.decode_event(line)


def test_names_on_the_wire_are_those_of_the_contract():
    """Commands are told apart by `cmd`, events by `ev`; fields are in camelCase."""
    query = json.loads(protocol.encode(Query(prompt=Raw(b'"hi"'), session_id="s", max_turns=1)))
    assert {"cmd": "query", "prompt": "hi", "sessionId": "s", "maxTurns": 1} == query
    result = json.loads(protocol.encode(ExecResult(exit_code=1, stdout="", stderr="")))
    assert "exec_result" == result["ev"]
    assert {"exitCode", "timedOut"} <= result.keys()


def test_what_is_not_said_is_not_written():
    """None means as the agent has it, and isn't on the wire."""
    assert b'{"cmd":"open","sessionId":"s"}\n' == protocol.encode(Open(session_id="s"))
    query = Query(prompt=Raw(b'"hi"'), session_id="s", include_partial_messages=False)
    assert b'{"cmd":"query","prompt":"hi","sessionId":"s"}\n' == protocol.encode(query)


@pytest.mark.parametrize("command", [Open, Resume])
def test_environment_has_the_name_that_bridges_know(command):
    """On the wire it is `env`: bridges in older images would not find it under another name."""
    line = protocol.encode(command(session_id="s", extra_env={"A": "b"}))
    assert {"A": "b"} == json.loads(line)["env"]


def test_unknown_fields_are_ignored():
    """A newer peer, and an older one, may say more than this one understands."""
    assert Interrupt() == protocol.decode_command(b'{"cmd":"interrupt","soon":true}')
    traced = b'{"cmd":"query","prompt":"hi","sessionId":"s","traceContext":{"traceparent":"00-1"}}'
    assert Query(prompt=Raw(b'"hi"'), session_id="s") == protocol.decode_command(traced)
    assert TurnDone("s") == protocol.decode_event(b'{"ev":"done","sessionId":"s","cost":{"usd":1}}')


@pytest.mark.parametrize(
    "line",
    [
        b'{"cmd":"dance"}',
        b'{"cmd":"query","prompt":"x"}',
        b'{"cmd":"exec","command":7}',
        b"[]",
        b'{"cmd":"interrupt"',
        b'{"cmd":"interrupt"} {}',
    ],
)
def test_command_that_does_not_fit_is_refused(line):
    """Unknown commands, missing or odd fields and broken JSON are a DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        protocol.decode_command(line)


@pytest.mark.parametrize("line", [b'{"ev":"x"}', b'{"ev":"message"}', b"", b'{"ev":"done"'])
def test_event_that_does_not_fit_is_refused(line):
    """Unknown events, missing fields and broken JSON are a DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        protocol.decode_event(line)


@given(JSON)
def test_message_line_is_the_encoded_message(value):
    """The short cut writes what the encoder would."""
    raw = msgspec.json.encode(value)
    assert protocol.encode(EngineMessage(Raw(raw))) == protocol.message_line(raw)


@pytest.mark.parametrize("wrap", [bytes, memoryview])
def test_payload_is_not_touched(wrap):
    """White space, escapes and numbers in a message stay the bytes that they were."""
    raw = b'{ "a" : 1.0e5,\t"b":"\\u00e9\xc3\xa9\\/", "a":1e999 }'
    event = protocol.decode_event(wrap(b'{"ev":"message","data":' + raw + b"}"))
    assert raw == bytes(event.data)


@pytest.mark.parametrize(
    "raw",
    [
        rb'"\ud83d"',
        rb'"\uDE00 is the other half"',
        rb'{"\ud83d":["\ud83d\ud83d\ude00","\\\ud83d"]}',
    ],
)
def test_text_cut_in_the_middle_of_a_character_passes_untouched(raw):
    """JavaScript writes half a character as an escape, which msgspec refuses and we don't."""
    event = protocol.decode_event(protocol.message_line(raw).rstrip(b"\n"))
    assert raw == bytes(event.data)


def test_event_with_half_a_character_outside_of_its_message_is_still_read():
    """Only a message is promised byte for byte: elsewhere the half becomes U+FFFD."""
    assert Failed("a\ufffd") == protocol.decode_event(rb'{"ev":"error","error":"a\ud83d"}')
    more = protocol.decode_event(rb'{"ev":"message","data":"\ud83d","more":1}')
    assert rb'"\ufffd"' == bytes(more.data)


@pytest.mark.parametrize("raw", [rb'"\ud8zz"', rb'"\ud83', b'{"a":"\\ud83d"', rb'"\ud83d",'])
def test_broken_message_with_half_a_character_is_refused(raw):
    """The leniency is for halves of characters alone."""
    with pytest.raises(msgspec.DecodeError):
        protocol.decode_event(protocol.message_line(raw).rstrip(b"\n"))


@given(st.text(st.sampled_from('\ud83d\ude00a\\"\u00e9\U0001f600')))
def test_characters_are_whole_after_mending(text):
    """Whole characters stay, each half becomes U+FFFD."""
    mended = protocol.with_whole_characters(json.dumps(text).encode())
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert whole == msgspec.json.decode(mended)


def test_text_with_a_nul_is_left_as_it_is():
    """It is no JSON, so whoever reads it says what is wrong with it."""
    broken = b'"\0 \\ud83d"'
    assert broken == protocol.with_whole_characters(memoryview(broken))
