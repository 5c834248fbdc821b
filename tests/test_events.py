"""The frames and timeline events for each SDK message."""

import json
from itertools import product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ash import events
from ash.events import Ending, Frame
from ash.model_retry import Retry
from ash.protocol import McpServerState
from ash.sdk_message import Head
from ash.timeline import timeline

RECORDINGS = sorted((Path(__file__).parent / "fixtures" / "cli").glob("*.ndjson"))

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
# Known names with values of any shape: where a reader that trusts its input would fall.
NAMES = ["type", "text", "content", "id", "name", "input", "is_error", "thinking", "tool_use_id"]
BLOCK = st.dictionaries(st.sampled_from(NAMES), JSON)
MESSAGE = st.fixed_dictionaries(
    {"type": st.sampled_from(["assistant", "user", "result", "system", "stream_event"]) | JSON},
    optional={
        "subtype": st.sampled_from(["init", "success", "error_during_execution"]) | JSON,
        "message": st.fixed_dictionaries({"content": st.lists(BLOCK) | JSON}) | JSON,
        "event": st.fixed_dictionaries({"delta": BLOCK | JSON}) | JSON,
        "tool_use_result": st.fixed_dictionaries({"stdout": JSON, "stderr": JSON}) | JSON,
        "num_turns": st.integers() | JSON,
        "result": JSON,
        "is_error": JSON,
        "errors": JSON,
        "mcp_servers": JSON,
        "parent_tool_use_id": JSON,
        "subagent_stats": st.dictionaries(st.sampled_from(["spawned", "killed"]), JSON) | JSON,
    },
)

SAYS_NOTHING = "The agent failed, and does not say why"


def read(message):
    return events.read(json.dumps(message).encode())


def shown(reading):
    """The frames without the message itself."""
    return [(frame.event, json.loads(bytes(frame.data))) for frame in reading.frames[:-1]]


def kept(reading):
    """The timeline events of the message."""
    found = timeline(bytes(reading.frames[-1].data))
    assert reading.events == len(found)
    return [(kind, json.loads(data)) for kind, data in found]


def assistant(*blocks):
    return {"type": "assistant", "message": {"role": "assistant", "content": list(blocks)}}


def tool_result(block=None, **message):
    content = [{"type": "tool_result", "tool_use_id": "t1", "content": "out", **(block or {})}]
    return {"type": "user", "message": {"role": "user", "content": content}, **message}


def delta(**fields):
    event = {"type": "content_block_delta", "index": 0, "delta": fields}
    return {"type": "stream_event", "event": event}


def result(**fields):
    return {"type": "result", "subtype": "success", "num_turns": 2, "result": "hi", **fields}


def test_text_of_an_assistant_goes_to_the_timeline():
    """A whole text is a timeline event but no frame of its own."""
    reading = read(assistant({"type": "text", "text": "hello"}))
    assert [] == shown(reading)
    assert [("text", {"text": "hello"})] == kept(reading)
    assert reading.durable


def test_thinking_of_an_assistant_is_reasoning_in_the_timeline():
    """Thinking is a timeline event `reasoning`, without its signature."""
    reading = read(assistant({"type": "thinking", "thinking": "hm", "signature": "x"}))
    assert [] == shown(reading)
    assert [("reasoning", {"thinking": "hm"})] == kept(reading)


def test_tool_call_is_a_frame_and_a_row():
    """A tool call is a frame with the SDK's names, and a timeline event with the API's."""
    call = {"id": "t1", "name": "Bash", "input": {"command": "ls"}}
    reading = read(assistant({"type": "tool_use", **call}))
    assert [("tool_use", call)] == shown(reading)
    row = {"toolName": "Bash", "toolId": "t1", "input": {"command": "ls"}}
    assert [("tool_start", row)] == kept(reading)


def test_blocks_keep_their_order():
    """The blocks of a message are read in order, and unknown kinds are skipped."""
    reading = read(
        assistant(
            {"type": "text", "text": "first"},
            {"type": "tool_use", "id": "a", "name": "A", "input": {}},
            {"type": "server_tool_use", "id": "s"},
            {"type": "tool_use", "id": "b", "name": "B", "input": {}},
        )
    )
    assert ["a", "b"] == [data["id"] for _, data in shown(reading)]
    assert ["text", "tool_start", "tool_start"] == [kind for kind, _ in kept(reading)]


def test_tool_result_is_a_frame_and_a_row():
    """The timeline separates stdout from stderr if the tool did."""
    output = {"stdout": "out", "stderr": "err", "interrupted": False}
    reading = read(tool_result({"is_error": False}, tool_use_result=output))
    frame = {"tool_use_id": "t1", "content": "out", "is_error": False}
    assert [("tool_result", frame)] == shown(reading)
    row = {"toolId": "t1", "stdout": "out", "stderr": "err", "content": "out", "isError": False}
    assert [("tool_result", row)] == kept(reading)


@pytest.mark.parametrize("output", ["Error: no", None, {"file": {}}, {"stdout": 7}, [1]])
def test_tool_result_without_streams_has_its_content_alone(output):
    """The result of a tool without streams has only its content."""
    reading = read(tool_result(tool_use_result=output))
    assert [("tool_result", {"toolId": "t1", "content": "out"})] == kept(reading)


def test_is_error_is_left_out_where_the_message_has_none():
    """`is_error` is left out if the message does not have it."""
    assert [("tool_result", {"tool_use_id": "t1", "content": "out"})] == shown(read(tool_result()))


def test_text_of_a_user_is_passed_on_alone():
    """A user message of text has no frame but its own."""
    blocks = [{"type": "text", "text": "[Request interrupted by user]"}]
    for content in ("hello", blocks):
        reading = read({"type": "user", "message": {"role": "user", "content": content}})
        assert ([], []) == (shown(reading), kept(reading))
        assert reading.durable


@pytest.mark.parametrize(
    ("fields", "frame"),
    [
        ({"type": "text_delta", "text": "wo"}, ("text_delta", {"delta": "wo"})),
        ({"type": "thinking_delta", "thinking": "h"}, ("thinking_delta", {"delta": "h"})),
    ],
)
def test_delta_is_a_frame_and_is_not_stored(fields, frame):
    """A delta is a frame before its message, and neither is stored."""
    reading = read(delta(**fields))
    assert [frame] == shown(reading)
    assert [] == kept(reading)
    assert not reading.durable


@pytest.mark.parametrize(
    "message",
    [
        delta(type="input_json_delta", partial_json="{"),
        delta(type="signature_delta", signature="x"),
        {"type": "stream_event", "event": {"type": "message_stop"}},
        {"type": "stream_event"},
    ],
)
def test_other_stream_events_are_passed_on_alone(message):
    """A stream event without text is passed on and not stored."""
    reading = read(message)
    assert ["message"] == [frame.event for frame in reading.frames]
    assert not reading.durable


def test_state_of_mcp_servers_is_in_the_timeline():
    """The state of MCP servers in `init`, if there are any, is a timeline event."""
    servers = [{"name": "docs", "status": "failed"}]
    init = {"type": "system", "subtype": "init"}
    assert [("mcp_status", {"servers": servers})] == kept(read({**init, "mcp_servers": servers}))
    assert [] == kept(read({**init, "mcp_servers": []}))
    assert [] == kept(read({**init, "subtype": "status", "mcp_servers": servers}))


def test_result_completes_the_turn():
    """A result is a frame, a timeline event and the end of the turn."""
    reading = read(result())
    assert [("turn_complete", {"numTurns": 2, "result": "hi"})] == shown(reading)
    assert [("turn_complete", {"numTurns": 2, "result": "hi"})] == kept(reading)
    assert Ending("completed") == reading.ending


def subagents(**counts):
    killed = {"parent": 0, "user": 0, "system": 0, **counts.pop("killed", {})}
    return {"spawned": 1, "completed": 0, "failed": 0, "killed": killed, **counts}


def test_result_before_the_report_of_a_subagent_does_not_complete_the_turn():
    """While subagents work in the background a result is shown as a message only."""
    reading = read(result(subagent_stats=subagents()))
    assert ["message"] == [frame.event for frame in reading.frames]
    assert ([], Ending("completed", interim=True)) == (kept(reading), reading.ending)


@pytest.mark.parametrize(
    "stats",
    [
        subagents(completed=1),
        subagents(failed=1),
        subagents(killed={"user": 1}),
        {},
        None,
        "odd",
        {"spawned": "many"},
    ],
)
def test_result_completes_the_turn_when_no_subagent_works_any_more(stats):
    """Subagents that have completed, failed or been killed are waited for no longer."""
    reading = read(result(subagent_stats=stats))
    assert ["turn_complete", "message"] == [frame.event for frame in reading.frames]
    assert Ending("completed") == reading.ending


def test_what_a_subagent_does_names_the_call_that_started_it():
    """Deltas, tool calls, their results and the timeline's events carry `parentToolUseId`."""
    use = {"type": "tool_use", "id": "t2", "name": "Bash", "input": {}}
    told = {"type": "tool_result", "tool_use_id": "t2", "content": "ok"}
    messages = [
        delta(text="x"),
        delta(thinking="x"),
        assistant(use, {"type": "text", "text": "x"}, {"type": "thinking", "thinking": "x"}),
        {"type": "user", "message": {"role": "user", "content": [told]}},
    ]
    for message in messages:
        reading = read({**message, "parent_tool_use_id": "t1"})
        data = [value for _, value in [*shown(reading), *kept(reading)]]
        assert {"t1"} == {value["parentToolUseId"] for value in data}
        assert "parentToolUseId" not in str(shown(read(message)) + kept(read(message)))


@pytest.mark.parametrize(
    ("fields", "ending"),
    [
        ({"subtype": "error_max_turns", "is_error": True}, Ending("budget")),
        ({"subtype": "error_max_budget_usd", "is_error": True}, Ending("budget")),
        ({"is_error": True, "result": "API Error: 500"}, Ending("error", "API Error: 500")),
        (
            {
                "is_error": True,
                "result": "API Error: 529. If it persists, check your inference"
                " gateway (127.0.0.1:3128).",
            },
            Ending("error", "API Error: 529."),
        ),
        ({"is_error": True, "result": None}, Ending("error", SAYS_NOTHING)),
        ({"subtype": "error_during_execution"}, Ending("error", "hi")),
        (
            {"subtype": "error_x", "result": None, "errors": ["a", "", 7, "b"]},
            Ending("error", "a; b"),
        ),
        (
            {"subtype": "error_x", "result": {"a": 1}},
            Ending("error", "The agent failed, and says only: error_x"),
        ),
        ({"subtype": "", "is_error": True, "result": ""}, Ending("error", SAYS_NOTHING)),
    ],
)
def test_result_gives_the_reason_of_the_end(fields, ending):
    """A limit is no failure, and the CLI's error text is kept, without our proxy's address."""
    assert ending == read(result(**fields)).ending


@pytest.mark.parametrize(
    "fields", [{"is_error": True}, {"subtype": "error_max_turns"}, {"subtype": "error_x"}]
)
def test_error_is_never_shown_as_an_answer(fields):
    """What a turn ends with is an answer only if it was completed."""
    reading = read(result(**fields, result="API Error: 500"))
    expected = [("turn_complete", {"numTurns": 2, "result": None})]
    assert expected == shown(reading)
    assert expected == kept(reading)


@pytest.mark.parametrize(
    "number", ["9" * 5000, "-" + "9" * 5000, "1e999", "[" * 500 + "]" * 500, '"\\ud800"']
)
@pytest.mark.parametrize("name", ["result", "num_turns", "errors", "is_error", "x"])
def test_result_of_any_value_ends_the_turn(name, number):
    """Whatever an engine puts into a field, its turn has an end, and its message is shown."""
    raw = f'{{"type":"result","subtype":"success","is_error":true,"{name}":{number}}}'.encode()
    reading = events.read(raw)
    assert "error" == reading.ending.reason
    assert reading.ending.error
    assert ["turn_complete", "message"] == [frame.event for frame in reading.frames]
    assert raw == reading.frames[-1].data


def test_error_in_place_of_an_answer_is_no_text_in_the_timeline():
    """The CLI makes a message of an error of the endpoint; the turn's error tells of it."""
    said = {**assistant({"type": "text", "text": "Invalid API key"}), "error": "authentication"}
    assert [] == kept(read(said))


def test_retry_of_a_model_call_is_read():
    """The number of the try, of so many, the endpoint's status, and the pause."""
    said = {"type": "system", "subtype": "api_retry", "error_status": 529, "error": "overloaded"}
    message = {**said, "attempt": 2, "max_retries": 10, "retry_delay_ms": 1195.4}
    assert Retry(2, 10, 529, 1195) == read(message).retry
    assert Retry() == read({**said, "attempt": "two"}).retry
    assert read({"type": "system", "subtype": "init"}).retry is None


HOSTILE = [
    *("null", "true", "-1", "1.5", "1e999", "9" * 30, "9" * 5000, '"x"', '"\\ud800"', "[]", "{}"),
    *(
        "[7]",
        '[{"type":"text","text":7}]',
        '[{"type":"tool_use","id":"\\ud800"}]',
        "[" * 300 + "]" * 300,
    ),
    *('{"content":[{"type":"tool_result","is_error":7}]}', '{"stdout":"\\ud800","stderr":"x"}'),
    *('{"delta":{"text":"\\ud800"}}', '[{"name":"a","status":"b","error":"\\ud800"}]'),
]


@pytest.mark.parametrize("kind", ["assistant", "user", "system", "stream_event", "result"])
def test_any_value_in_any_field_is_read(kind):
    """Nothing that an engine writes is an error here, and a result always ends its turn."""
    fields = [*Head.__struct_fields__, "max_retries", "parent_tool_use_id"]
    for subtype, name, value in product(("init", "api_retry", "success"), fields, HOSTILE):
        raw = f'{{"type":"{kind}","subtype":"{subtype}","{name}":{value}}}'.encode()
        reading = events.read(raw)
        assert raw == reading.frames[-1].data
        if kind == "result" and name != "type":
            assert reading.ending is not None, raw


def test_answer_that_broke_off_is_abandoned():
    """The CLI marks the end of a stream whose deltas will come again."""
    stop = {"type": "stream_event", "event": {"type": "message_stop"}}
    assert read({**stop, "abandoned_blocks": {"from_block_index": 0}}).abandoned
    assert not read(stop).abandoned
    of_subagent = {"abandoned_blocks": {"text": "\ud800"}, "parent_tool_use_id": "t1"}
    assert ["t1", None] == [
        read({**stop, **of_subagent, **more}).parent for more in ({}, {"parent_tool_use_id": None})
    ]


def test_only_a_result_ends_the_turn():
    """Only a result has an ending."""
    for message in (assistant(), tool_result(), delta(text="x"), {"type": "system"}):
        assert read(message).ending is None


@pytest.mark.parametrize(
    "raw",
    [
        b'{"type":"rate_limit_event","rate_limit_info":{"status":"allowed"}}',
        b'{"type":["assistant"]}',
        b'{"type":"assistant","message":{"content":[7]}}',
        b'"a text"',
        b"[]",
        b"null",
    ],
)
def test_unknown_shape_passes_as_it_is(raw):
    """A message of unknown shape is shown and stored unchanged."""
    assert events.Reading([Frame("message", raw)], durable=True) == events.read(raw)


def test_message_comes_last_and_untouched():
    """The message comes unchanged after the frames that were read from it."""
    block = b'{"type":"tool_use", "id":"\\u0041", "name":"x", "input":{"n":1.0e2, "n":2}}'
    raw = b'{ "type":"assistant" ,"message":{"content":[' + block + b']},\t"later":[] }'
    reading = events.read(raw)
    assert ["tool_use", "message"] == [frame.event for frame in reading.frames]
    assert raw == reading.frames[-1].data


def test_values_are_taken_out_as_they_were_written():
    """Numbers and escapes in a value keep their bytes."""
    big = b'{"n":12345678901234567890123, "f":1.0e2, "s":"\\u00e9\\/"}'
    raw = b'{"type":"assistant","message":{"content":[{"type":"tool_use","input":' + big + b"}]}}"
    assert big in bytes(events.read(raw).frames[0].data)


def test_half_a_character_is_replaced_in_values():
    """Half a surrogate pair is replaced in values, but not in the message."""
    raw = json.dumps(
        tool_result(
            {"content": "cut \ud83d"}, tool_use_result={"stdout": "cut \ud83d", "stderr": ""}
        )
    ).encode()
    reading = events.read(raw)
    assert [("tool_result", {"tool_use_id": "t1", "content": "cut \ufffd"})] == shown(reading)
    assert "cut \ufffd" == kept(reading)[0][1]["stdout"]
    assert raw == reading.frames[-1].data


@given(MESSAGE | JSON)
def test_any_json_is_read(message):
    """No JSON is an error, and every message is shown unchanged."""
    raw = msgspec.json.encode(message)
    reading = events.read(raw)
    assert Frame("message", raw) == reading.frames[-1]
    for frame in reading.frames:
        assert b"\n" not in bytes(frame.data)
        json.loads(bytes(frame.data))
    kept(reading)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda path: path.stem)
def test_recorded_turn_ends_once_and_with_its_last_message(recording):
    """Each recorded turn of the real CLI has one ending, with its last message."""
    readings = [events.read(line) for line in recording.read_bytes().splitlines()]
    assert [None] * (len(readings) - 1) == [reading.ending for reading in readings[:-1]]
    assert readings[-1].ending is not None


def test_recorded_deltas_add_up_to_the_text_of_their_message():
    """The recorded deltas add up to the text of their message."""
    lines = (RECORDINGS[0].parent / "text.ndjson").read_bytes().splitlines()
    readings = [events.read(line) for line in lines]
    frames = [frame for reading in readings for frame in shown(reading)]
    pieces = [data["delta"] for event, data in frames if event == "text_delta"]
    texts = [data["text"] for reading in readings for kind, data in kept(reading) if kind == "text"]
    assert texts == ["".join(pieces)]


def test_frames_of_the_daemon_itself():
    """The frames that the daemon makes itself have the documented fields."""
    assert Frame("session_start", b'{"sessionId":"s","version":"1"}') == events.session_start(
        "s", "1"
    )
    assert Frame("error", b'{"error":"oh","code":7}') == events.error("oh", code=7)
    assert Frame("done", b'{"sessionId":"s","reason":"lost"}') == events.done("s", "lost")
    assert {"sessionId": "s", "reason": "budget", "detail": events.BUDGET_WORDS} == json.loads(
        events.done("s", "budget").data
    )
    retry = Retry(1, 10, 529, 500)
    assert {"attempt": 1, "of": 10, "status": 529, "retryInMs": 500, "error": "oh"} == json.loads(
        events.retry(retry, "oh", discard=False).data
    )
    assert json.loads(events.retry(retry, "oh", discard=True).data)["discard"] is True


@pytest.mark.parametrize("text", ["a\x85b\u2028c\u2029d\ne", "naïve 漢字 Å …"])
def test_frames_with_texts_of_the_daemon_are_one_line_for_every_reader(text):
    """Also for those that take U+0085, U+2028 and U+2029 for the end of a line."""
    retry = Retry(1, 10, 529, 500)
    for frame in (events.error(text), events.retry(retry, text, discard=False)):
        assert 1 == len(frame.data.decode().splitlines())
        assert text == json.loads(frame.data)["error"]
    servers = events.mcp_status([McpServerState("tools", "failed", text)])
    assert 1 == len(servers.data.decode().splitlines())
    assert text == json.loads(servers.data)["servers"][0]["error"]


def test_sse_frame_has_id_event_and_one_line_of_data():
    """A frame on the wire is an id, an event and one line of data."""
    assert b'id: 7\nevent: message\ndata: {"a":1}\n\n' == events.sse(
        7, Frame("message", b'{"a":1}')
    )


@given(st.lists(st.sampled_from([b"{", b"}", b":", b'"a\\r\\n"', b"\r", b" ", b"\t"])))
def test_carriage_returns_never_break_the_framing(parts):
    """An SSE reader sees one event, whatever white space the message has."""
    line = events.sse(1, Frame("message", b"".join(parts)))
    assert 4 == len(line.splitlines())
    assert line.endswith(b"\n\n")


@given(st.integers(0, 2**53), st.sampled_from(["message", "done"]), st.binary(max_size=40))
def test_frame_is_handed_over_as_it_goes_over_the_wire(frame_id, event, data):
    """A reader in the same process gets the id, the name and the data that a client gets."""
    sent = events.sse(frame_id, Frame(event, data))
    assert (frame_id, Frame(event, data.replace(b"\r", b" "))) == events.unwrap(sent)


def test_carriage_return_becomes_a_blank():
    """Only carriage returns change, so the JSON has the same meaning."""
    raw = b'{\r\t"a": [1.0e5,\r2], "b":"\\r"}'
    sent = events.sse(1, Frame("message", memoryview(raw)))
    assert sent.endswith(b'data: {\x20\t"a": [1.0e5, 2], "b":"\\r"}\n\n')


def test_gap_names_what_was_asked_for_and_what_is_there():
    """Its reader can tell what it has missed."""
    frame = events.gap(3, 7, 9)
    assert "gap" == frame.event
    assert {"requested": 3, "earliest": 7, "latest": 9} == msgspec.json.decode(frame.data)
