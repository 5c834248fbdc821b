"""What a turn shows while the model endpoint fails, and what it ends with."""

import json

import pytest
import structlog.testing
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash.egress import ModelFault
from ash.protocol import EngineMessage, Failed

FAULT = ModelFault("The endpoint is overloaded (529): try again later", 529)


def message(raw):
    return EngineMessage(Raw(raw))


RETRY = message(
    b'{"type":"system","subtype":"api_retry","attempt":1,"max_retries":10,"retry_delay_ms":500.6,'
    b'"error_status":502}'
)
ABANDONED = message(
    b'{"type":"stream_event","event":{"type":"message_stop"},"abandoned_blocks":{}}'
)
FAILED = message(b'{"type":"result","subtype":"success","is_error":true,"result":"API Error"}')


async def frames_of(scene, *said):
    """The frames after `session_start`, without messages."""
    turn = await scene.accepted()
    for batch in said:
        await scene.sandbox.say(*batch)
    await turn.finished.wait()
    shown = await scene.shown(turn)
    return [frame for frame in shown if frame[0] not in {"session_start", "message"}]


async def test_retry_is_told_with_the_cause(scene, result, end):
    """The CLI says when it tries again, and the proxy what is wrong."""
    turn = await scene.accepted()
    scene.sandbox.faults.failed(FAULT)
    await scene.show(RETRY)
    scene.sandbox.faults.answered()
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    frames = await scene.shown(turn)
    told = {"attempt": 1, "of": 10, "status": 529, "retryInMs": 501, "error": FAULT.error}
    assert ["session_start", "retry", "message"] == [event for event, _ in frames[:3]]
    assert told == frames[1][1]
    assert "completed" == frames[-1][1]["reason"]


async def test_retry_that_the_proxy_knows_nothing_of_is_told(scene, result, end):
    """An agent may call a model of its own, past the proxy."""
    frames = await frames_of(scene, [RETRY, result, end])
    assert "The model endpoint failed (502)" == frames[0][1]["error"]


async def test_call_that_waits_is_told(scene, result, end):
    """The CLI says nothing while it waits, so the proxy's word comes by itself."""
    turn = await scene.accepted()
    await scene.sandbox.faults.tell(ModelFault("It has sent nothing for 15 s"))
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    told = {"attempt": 0, "of": None, "status": None, "retryInMs": None}
    frames = await scene.shown(turn)
    assert ("retry", {**told, "error": "It has sent nothing for 15 s"}) == frames[1]


async def test_word_of_the_proxy_between_two_turns_is_dropped(scene, result, end):
    """A call that belongs to no turn has nobody to be told."""
    turn = await scene.accepted()
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    await wait_all_tasks_blocked()
    await scene.sandbox.faults.tell(FAULT)
    assert "retry" not in await scene.shown_now()


async def test_answer_that_broke_off_is_taken_back_by_the_retry(scene, delta, result, end):
    """The half that was shown will come again, from its beginning."""
    frames = await frames_of(scene, [delta, ABANDONED, RETRY, delta], [result, end])
    events = [event for event, _ in frames]
    assert ["text_delta", "retry", "text_delta", "turn_complete", "done"] == events
    assert frames[1][1]["discard"] is True


async def test_answer_that_broke_off_is_taken_back_without_a_retry(scene, delta, result, end):
    """The CLI may ask again without saying so; the half is taken back before more comes."""
    frames = await frames_of(scene, [delta, ABANDONED, delta], [delta, ABANDONED], [result, end])
    assert ["text_delta", "retry", "text_delta", "text_delta", "retry"] == [
        event for event, _ in frames[:5]
    ]
    assert [True, True] == [data["discard"] for event, data in frames if event == "retry"]


async def test_answer_of_a_subagent_that_broke_off_is_taken_back_as_its_own(
    scene, delta, result, end
):
    """Others may be speaking at the same time."""
    abandoned = json.loads(bytes(ABANDONED.data)) | {"parent_tool_use_id": "t1"}
    raw = message(json.dumps(abandoned).encode())
    frames = await frames_of(scene, [delta, raw, RETRY, delta, ABANDONED], [result, end])
    retries = [data for event, data in frames if event == "retry"]
    assert ["t1", None] == [data.get("parentToolUseId") for data in retries]
    assert [True, True] == [data["discard"] for data in retries]


async def test_stored_ids_are_right_beside_retries(scene, delta, text, result, end):
    """Whoever comes back finds each message under the id that it was shown with."""
    turn = await scene.accepted()
    await scene.sandbox.say(delta, ABANDONED, RETRY, text, ABANDONED)
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    shown = await scene.shown(turn)
    stored = scene.rows("SELECT frame, content FROM messages WHERE role = 'assistant'")
    assert 3 == len(stored)
    for frame, content in stored:
        assert ("message", json.loads(content)) == shown[frame - turn.first_frame]


async def test_turn_that_fails_with_its_last_call_says_why(scene, end):
    """The cause is in our words, not in the CLI's."""
    turn = await scene.accepted()
    scene.sandbox.faults.failed(FAULT)
    await scene.sandbox.say(FAILED, end)
    await turn.finished.wait()
    frames = await scene.shown(turn)
    assert [("error", {"error": FAULT.error})] == [f for f in frames if f[0] == "error"]
    assert "error" == frames[-1][1]["reason"]


async def test_turn_that_fails_after_an_answer_keeps_the_cli_s_words(scene, end):
    """A fault that was overcome is not the cause."""
    turn = await scene.accepted()
    scene.sandbox.faults.failed(FAULT)
    scene.sandbox.faults.answered()
    await scene.sandbox.say(FAILED, end)
    await turn.finished.wait()
    assert ("error", {"error": "API Error"}) in await scene.shown(turn)


async def test_turn_that_is_completed_has_no_cause(scene, result, end):
    """A call beside the answer may fail last, that of a subagent for example."""
    turn = await scene.accepted()
    scene.sandbox.faults.failed(FAULT)
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert "completed" == (await scene.shown(turn))[-1][1]["reason"]


async def test_fault_of_an_earlier_turn_is_not_the_cause(scene, end):
    """Each turn begins without faults."""
    turn = scene.begin()
    scene.sandbox.faults.failed(FAULT)
    await turn.accepted()
    await scene.sandbox.say(FAILED, end)
    await turn.finished.wait()
    assert ("error", {"error": "API Error"}) in await scene.shown(turn)


@pytest.mark.parametrize(
    ("fault", "why"), [(ModelFault("It can't be reached"), "It can't be reached"), (FAULT, None)]
)
async def test_fault_of_the_endpoint_is_logged(scene, end, fault, why):
    """In our words if it did not answer; else by its status alone, as the words may be its own."""
    turn = await scene.accepted()
    scene.sandbox.faults.failed(fault)
    with structlog.testing.capture_logs() as logs:
        await scene.sandbox.say(FAILED, end)
        await turn.finished.wait()
    (line,) = [line for line in logs if line["event"] == "turn.ended_in_error"]
    assert (why, fault.status) == (line["why"], line["model_status"])


async def test_retries_do_not_end_the_silence(scene, mock_clock):
    """An agent that only waits for its model is silent."""
    scene.silence_timeout = 600.0
    turn = await scene.accepted()
    for _ in range(2):
        mock_clock.jump(290)
        await scene.show(RETRY)
        await scene.sandbox.faults.tell(FAULT)
    mock_clock.jump(21)
    await turn.finished.wait()
    assert scene.sandbox.killed


@pytest.mark.parametrize(
    "lost", [message(b'{"type":"assistant","x":"\xff"}'), Failed("a line can't be read")]
)
async def test_loss_is_not_made_good_by_a_result(scene, result, end, lost):
    """A message that could not be shown is named, although the turn goes on to its end."""
    frames = await frames_of(scene, [lost, result, end])
    assert ["turn_complete", "error", "done"] == [event for event, _ in frames]
    assert "error" == frames[-1][1]["reason"]
