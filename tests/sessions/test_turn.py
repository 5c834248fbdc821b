"""One turn: stored, then shown, and ended once, whatever happens."""

import json

import pytest
import trio
from msgspec import Raw
from trio.testing import wait_all_tasks_blocked

from ash import __version__
from ash.errors import Conflict, Unavailable
from ash.lifecycle import CHANGES
from ash.protocol import (
    EngineMessage,
    Failed,
    Interrupt,
    McpServerState,
    McpStatus,
    Query,
    Recovered,
    Shutdown,
)
from ash.sessions.frame_ring import RESERVE
from ash.sessions.turn import STEP_SECONDS

BUDGET = EngineMessage(Raw(b'{"type":"result","subtype":"error_max_turns","is_error":true}'))
REFUSED = EngineMessage(Raw(b'{"type":"result","subtype":"success","is_error":true,"result":"no"}'))
CUT_SHORT = EngineMessage(Raw(b'{"type":"result","subtype":"error_during_execution"}'))


def events(frames):
    return [event for event, _ in frames]


def ending(frames):
    """The reason that the turn ended with, and the error before it; fails on a second `done`."""
    assert ["done"] == [event for event in events(frames) if event == "done"]
    *before, (last, data) = frames
    assert "done" == last
    errors = [data["error"] for event, data in before if event == "error"]
    return data["reason"], *errors


async def test_turn_shows_what_the_agent_does(scene, delta, text, result, end):
    """From `session_start` to `done`, with granular frames before the message they are from."""
    turn = await scene.accepted()
    await scene.sandbox.say(delta)
    await scene.sandbox.say(text, result, end)
    await turn.finished.wait()
    frames = await scene.shown(turn)
    assert [
        "session_start",
        "text_delta",
        "message",
        "message",
        "turn_complete",
        "message",
        "done",
    ] == events(frames)
    session_id = scene.stored.session.id
    assert {"sessionId": session_id, "version": __version__} == frames[0][1]
    assert json.loads(bytes(text.data)) == frames[3][1]
    assert {"sessionId": session_id, "reason": "completed"} == frames[-1][1]


async def test_turn_leaves_its_history(scene, delta, text, result, end):
    """The user's words, whole messages and the timeline are kept; deltas are not."""
    turn = await scene.accepted(b'[{"type": "text", "text": "h\\u00e9"}]')
    await scene.sandbox.say(delta, text, result, end)
    await turn.finished.wait()
    assert [
        ("user", '{"type":"user","content":[{"type": "text", "text": "h\\u00e9"}]}'),
        ("assistant", str(text.data, "utf-8")),
        ("assistant", str(result.data, "utf-8")),
    ] == scene.rows("SELECT role, content FROM messages ORDER BY sequence")
    assert [("text", '{"text":"yes"}'), ("turn_complete", '{"numTurns":1,"result":"yes"}')] == (
        await scene.timeline()
    )
    assert [("completed", None)] == scene.rows("SELECT reason, error FROM turns")


async def test_stored_frame_ids_are_those_that_were_shown(scene, delta, text, result, end):
    """A client that comes back finds each message under the id that it was shown with."""
    turn = await scene.accepted()
    await scene.sandbox.say(delta, text, delta)
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    frames = await scene.shown(turn)
    at = {turn.first_frame + index: frame for index, frame in enumerate(frames)}
    stored = scene.rows("SELECT frame, content FROM messages WHERE role = 'assistant'")
    assert [("message", json.loads(content)) for _, content in stored] == [
        at[frame] for frame, _ in stored
    ]
    assert [(7, turn.last_frame)] == scene.rows("SELECT start_frame, end_frame FROM turns")
    assert "done" == at[turn.last_frame][0]


async def test_frame_ids_go_on_in_the_next_turn(scene, result, end):
    """The ids of a session only grow, and all that were given out are reserved in the store."""
    first = await scene.accepted()
    await scene.sandbox.say(result, end)
    await first.finished.wait()
    second = await scene.accepted()
    await scene.sandbox.say(result, end)
    await second.finished.wait()
    assert first.last_frame + 1 == second.first_frame
    assert [(7 + RESERVE,)] == scene.rows("SELECT next_frame FROM sessions")


async def test_ids_are_reserved_anew_before_they_run_out(scene, delta, result, end):
    """What is shown next is reserved before, also when there is nothing else to store."""
    turn = await scene.accepted()
    scene.ring.next_id = low = scene.ring.reserved - 10
    await scene.sandbox.say(delta)
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert [(low + RESERVE,)] == scene.rows("SELECT next_frame FROM sessions")


async def test_user_message_is_stored_before_anything_is_shown(scene):
    """`session_start` waits for the store; the prompt is on its way meanwhile."""
    scene.store.gates["begin_turn"] = trio.Event()
    turn = scene.begin()
    await scene.sandbox.heard(Query)
    await wait_all_tasks_blocked()
    assert "" == await scene.shown_now()
    scene.store.gates["begin_turn"].set()
    await turn.accepted()
    assert "session_start" in await scene.shown_now()


async def test_messages_are_stored_before_they_are_shown(scene, delta, text):
    """Nothing of a batch is shown, deltas neither, while its messages are being stored."""
    turn = await scene.accepted()
    scene.store.gates["append"] = trio.Event()
    await scene.sandbox.say(delta, text)
    await wait_all_tasks_blocked()
    assert "message" not in await scene.shown_now()
    scene.store.gates["append"].set()
    while "yes" not in await scene.shown_now():
        await scene.ring.read(scene.ring.next_id)
    scene.sandbox.die()
    await turn.finished.wait()


async def test_deltas_wait_for_no_store(scene, delta, result, end):
    """A batch of deltas alone is shown without a write."""
    turn = await scene.accepted()
    scene.store.asked.clear()
    await scene.sandbox.say(delta, delta)
    await wait_all_tasks_blocked()
    assert 2 == (await scene.shown_now()).count("event: text_delta")
    assert [] == scene.store.asked
    await scene.sandbox.say(result, end)
    await turn.finished.wait()


async def test_end_is_stored_before_it_is_shown(scene, result, end):
    """`done` waits for the store."""
    turn = await scene.accepted()
    scene.store.gates["end_turn"] = trio.Event()
    await scene.sandbox.say(result, end)
    while "end_turn" not in scene.store.asked:
        await trio.lowlevel.checkpoint()
    assert "event: done" not in await scene.shown_now()
    scene.store.gates["end_turn"].set()
    await turn.finished.wait()
    assert ("completed",) == ending(await scene.shown(turn))


async def test_messages_that_can_not_be_stored_are_not_shown(scene, delta, text):
    """When the store fails, followers are cut where they are and the sandbox is killed."""
    turn = await scene.accepted()
    scene.store.failing["append"] = OSError("disk")
    await scene.sandbox.say(delta, text)
    await turn.finished.wait()
    assert ["session_start"] == events((await scene.shown(turn))[:-1])
    assert "cut" == (await scene.shown(turn))[-1]
    assert scene.sandbox.killed


async def test_end_that_can_not_be_stored_is_not_shown(scene, result, end):
    """A `done` that the store does not know would be forgotten by a restart: there is none."""
    turn = await scene.accepted()
    scene.store.failing["end_turn"] = OSError("disk")
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert "cut" == (await scene.shown(turn))[-1]
    assert "event: done" not in await scene.shown_now()
    assert scene.sandbox.killed


async def test_turn_of_another_owner_shows_nothing_more(scene, text):
    """Who has lost the session to another generation can store nothing, so it shows nothing."""
    turn = await scene.accepted()
    await scene.store.change_session(
        scene.stored.session.id, CHANGES["pause"], "now", new_generation=True
    )
    await scene.sandbox.say(text)
    await turn.finished.wait()
    assert "cut" == (await scene.shown(turn))[-1]
    assert 1 == len(scene.rows("SELECT * FROM messages"))


@pytest.mark.parametrize(
    ("failure", "refusal"),
    [
        (Unavailable("The disk is full"), "The disk is full"),
        (OSError("/data/ash.db: I/O error"), "The message could not be stored"),
    ],
)
async def test_message_that_can_not_be_stored_is_refused(scene, end, failure, refusal):
    """The client gets an error and no frame, and the agent is told to leave it."""
    scene.store.failing["begin_turn"] = failure
    turn = scene.begin()
    with pytest.raises(Unavailable) as refused:
        await turn.accepted()
    assert refusal == refused.value.text
    await scene.sandbox.heard(Interrupt)
    await scene.sandbox.say(EngineMessage(Raw(b'{"type":"assistant"}')), end)
    await turn.finished.wait()
    assert "" == await scene.shown_now()
    assert not scene.sandbox.killed
    assert [] == scene.rows("SELECT * FROM turns")


async def test_message_to_a_session_that_was_paused_meanwhile_is_refused(scene, end):
    """Of two that are at it at the same time the store lets one win."""
    await scene.store.change_session(scene.stored.session.id, CHANGES["pause"], "now")
    turn = scene.begin()
    with pytest.raises(Conflict, match="no longer active"):
        await turn.accepted()
    await scene.sandbox.heard(Interrupt)
    await scene.sandbox.say(end)
    await turn.finished.wait()


async def test_agent_that_goes_on_with_a_refused_message_is_killed(scene, mock_clock):
    """Nobody may see what comes of it, and it has a time to leave it."""
    scene.store.failing["begin_turn"] = OSError("disk")
    turn = scene.begin()
    await scene.sandbox.heard(Interrupt)
    await wait_all_tasks_blocked()
    mock_clock.jump(STEP_SECONDS - 0.1)
    await wait_all_tasks_blocked()
    assert not scene.sandbox.killed
    mock_clock.jump(0.2)
    await turn.finished.wait()
    assert scene.sandbox.killed


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([REFUSED], ("error", "no")),
        ([BUDGET], ("budget",)),
        (
            [CUT_SHORT],
            ("error", "The agent stopped in the middle of its turn, and does not say why"),
        ),
        ([Failed("the CLI died")], ("error", "the CLI died")),
        ([], ("error", "The agent ended its turn without a result")),
    ],
)
async def test_turn_ends_once_with_its_reason(scene, end, said, expected):
    """Each way to end has its reason; an error is shown before the `done`, and kept."""
    turn = await scene.accepted()
    await scene.sandbox.say(*said, end)
    await turn.finished.wait()
    assert expected == ending(await scene.shown(turn))
    reason, *error = expected
    assert [(reason, *(error or [None]))] == scene.rows("SELECT reason, error FROM turns")
    kept = [data for kind, data in await scene.timeline() if kind == "error"]
    assert [json.dumps({"error": text}, separators=(",", ":")) for text in error] == kept


async def test_error_frame_has_its_id_in_the_store(scene, end):
    """The store knows under which id the error was shown, and under which the end."""
    turn = await scene.accepted()
    await scene.sandbox.say(Failed("oh"), end)
    await turn.finished.wait()
    ((error_frame, end_frame),) = scene.rows("SELECT error_frame, end_frame FROM turns")
    frames = await scene.shown(turn)
    at = [frames[frame - turn.first_frame][0] for frame in (error_frame, end_frame)]
    assert ["error", "done"] == at


async def test_death_of_the_agent_ends_the_turn(scene, text):
    """When the process dies, what it said is there, and the error says how it died."""
    turn = await scene.accepted()
    await scene.sandbox.say(text)
    scene.sandbox.die()
    await turn.finished.wait()
    frames = await scene.shown(turn)
    assert ("error", "The agent's process ended (signal 9)") == ending(frames)
    assert ["session_start", "message", "error", "done"] == events(frames)


async def test_limit_that_was_hit_explains_the_end(scene):
    """An agent that died because it hit a limit is told so, in place of how it died."""
    turn = await scene.accepted()
    scene.sandbox.limit_report = "The sandbox ran out of memory"
    scene.sandbox.die()
    await turn.finished.wait()
    assert ("error", "The sandbox ran out of memory") == ending(await scene.shown(turn))


async def test_silence_ends_the_turn(scene, delta, mock_clock):
    """Each word of the agent puts the end off; then it is killed."""
    scene.silence_timeout = 600.0
    turn = await scene.accepted()
    for _ in range(3):
        mock_clock.jump(599)
        await scene.sandbox.say(delta)
        await wait_all_tasks_blocked()
    assert not turn.finished.is_set()
    mock_clock.jump(601)
    await turn.finished.wait()
    reason, said = ending(await scene.shown(turn))
    assert ("error", True) == (reason, said.startswith("The agent was silent for 600 seconds ("))
    assert scene.sandbox.killed


async def test_silence_is_the_agent_s_not_the_store_s(scene, text, result, end, mock_clock):
    """The time that a write takes is not counted, and the write is not given up for it."""
    scene.silence_timeout = 600.0
    turn = await scene.accepted()
    scene.store.gates["append"] = trio.Event()
    await scene.sandbox.say(text)
    await wait_all_tasks_blocked()
    mock_clock.jump(1000)
    await wait_all_tasks_blocked()
    scene.store.gates["append"].set()
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert ("completed",) == ending(await scene.shown(turn))


async def test_silence_without_a_limit_is_waited_out(scene, result, end, mock_clock):
    """A timeout of 0 means never."""
    turn = await scene.accepted()
    mock_clock.jump(1e6)
    await wait_all_tasks_blocked()
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert ("completed",) == ending(await scene.shown(turn))


async def test_message_that_is_not_text_is_an_error_of_the_turn(scene, text, end):
    """What is not UTF-8 can be neither stored nor shown: it costs the turn, not the sandbox."""
    turn = await scene.accepted()
    await scene.sandbox.say(text, EngineMessage(Raw(b'{"type":"assistant","x":"\xff"}')), text, end)
    await turn.finished.wait()
    frames = await scene.shown(turn)
    assert ("error", "A message of the agent is lost: it is not UTF-8") == ending(frames)
    assert ["session_start", "message", "message", "error", "done"] == events(frames)
    assert not scene.sandbox.killed


async def test_stop_asks_the_agent_first(scene, end, nursery):
    """An agent that follows an interrupt ends its turn with the reason it was stopped for."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "interrupted")
    await scene.sandbox.heard(Interrupt)
    await scene.sandbox.say(CUT_SHORT, end)
    await turn.finished.wait()
    assert ("interrupted",) == ending(await scene.shown(turn))
    assert [Query, Interrupt] == [type(command) for command in scene.sandbox.commands]
    assert not scene.sandbox.killed


async def test_turn_that_completes_first_is_completed(scene, result, end, nursery):
    """A stop that comes too late changes nothing."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "interrupted")
    await scene.sandbox.heard(Interrupt)
    await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert ("completed",) == ending(await scene.shown(turn))


async def test_stop_climbs_a_ladder(scene, nursery, mock_clock):
    """Interrupt, five seconds later shutdown, five seconds later the end of every process."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "shutdown")
    await scene.sandbox.heard(Interrupt)
    await wait_all_tasks_blocked()
    mock_clock.jump(STEP_SECONDS - 0.1)
    await wait_all_tasks_blocked()
    assert [Query, Interrupt] == [type(command) for command in scene.sandbox.commands]
    mock_clock.jump(0.2)
    await scene.sandbox.heard(Shutdown)
    await wait_all_tasks_blocked()
    mock_clock.jump(STEP_SECONDS - 0.1)
    await wait_all_tasks_blocked()
    assert not scene.sandbox.killed
    mock_clock.jump(0.2)
    await turn.finished.wait()
    assert scene.sandbox.killed
    assert ("shutdown",) == ending(await scene.shown(turn))


@pytest.mark.parametrize("write", ["begin_turn", "append", "end_turn"])
async def test_store_that_hangs_is_not_an_agent_that_does_not_stop(  # noqa: PLR0917
    scene, nursery, text, result, end, mock_clock, write
):
    """However long the write takes: the agent has done what it was asked to, and lives on."""
    gate = scene.store.gates[write] = trio.Event()
    turn = scene.begin()
    await scene.sandbox.heard(Query)
    if write != "begin_turn":
        await turn.accepted()
        await scene.sandbox.say(text)
    if write == "end_turn":
        await scene.sandbox.say(result, end)
    await wait_all_tasks_blocked()
    nursery.start_soon(turn.stop, "stopped")
    for _ in range(5):
        await wait_all_tasks_blocked()
        mock_clock.jump(STEP_SECONDS + 0.1)
    gate.set()
    if write != "end_turn":
        await scene.sandbox.heard(Interrupt)
        await scene.sandbox.say(result, end)
    await turn.finished.wait()
    assert (False, False) == (scene.sandbox.killed, turn.killed)
    assert Shutdown not in [type(command) for command in scene.sandbox.commands]


async def test_agent_has_its_time_after_a_store_that_hung(scene, nursery, text, mock_clock):
    """One that does not stop then is killed all the same."""
    gate = scene.store.gates["append"] = trio.Event()
    turn = await scene.accepted()
    await scene.sandbox.say(text)
    nursery.start_soon(turn.stop, "stopped")
    await wait_all_tasks_blocked()
    mock_clock.jump(60)
    gate.set()
    await scene.ring.read(scene.ring.next_id)
    for _ in range(2):
        await wait_all_tasks_blocked()
        mock_clock.jump(STEP_SECONDS - 0.1)
        await wait_all_tasks_blocked()
        assert not scene.sandbox.killed
        mock_clock.jump(0.2)
    await turn.finished.wait()
    assert turn.killed


async def test_talking_does_not_put_the_end_off(scene, nursery, text, mock_clock):
    """An agent that goes on after it was asked to stop is killed, for all that it has to store."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "stopped")
    for _ in range(int(2 * STEP_SECONDS / 0.5)):
        assert not scene.sandbox.killed
        gate = scene.store.gates["append"] = trio.Event()
        await scene.sandbox.say(text)
        await wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        gate.set()
        await scene.ring.read(scene.ring.next_id)
        await wait_all_tasks_blocked()
    await turn.finished.wait()
    assert scene.sandbox.killed


async def test_stop_does_not_wait_for_an_agent_that_reads_nothing(scene, nursery, mock_clock):
    """A command that can't even be sent has no more time than one that is not followed."""
    turn = await scene.accepted()
    scene.sandbox.stuck = True
    nursery.start_soon(turn.stop, "stopped")
    for _ in range(2):
        await wait_all_tasks_blocked()
        mock_clock.jump(STEP_SECONDS + 0.1)
    await turn.finished.wait()
    assert ("stopped",) == ending(await scene.shown(turn))


async def test_first_reason_to_stop_holds(scene, end, nursery):
    """Who stops a turn that is being stopped waits with the first."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "interrupted")
    await scene.sandbox.heard(Interrupt)
    nursery.start_soon(turn.stop, "shutdown")
    await wait_all_tasks_blocked()
    await scene.sandbox.say(CUT_SHORT, end)
    await turn.finished.wait()
    assert ("interrupted",) == ending(await scene.shown(turn))


async def test_stop_of_a_turn_whose_agent_died_returns(scene, nursery):
    """A death on the way is an end for the reason that was asked for."""
    turn = await scene.accepted()
    nursery.start_soon(turn.stop, "stopped")
    await scene.sandbox.heard(Interrupt)
    scene.sandbox.die()
    await turn.finished.wait()
    assert ("stopped",) == ending(await scene.shown(turn))


async def test_cancelled_turn_is_finished(scene):
    """Who waits for a turn is not left waiting when its tree is cut down: it has an end."""
    async with trio.open_nursery() as scene.nursery:
        turn = await scene.accepted()
        scene.nursery.cancel_scope.cancel()
    assert turn.finished.is_set()
    broken = ("error", {"error": "The sandbox broke in the middle of the turn"})
    assert [broken, "done"] == [(await scene.shown(turn))[1], (await scene.shown(turn))[-1][0]]
    assert [("error",)] == scene.rows("SELECT reason FROM turns")


async def test_turn_tells_what_was_mended(scene, text, result, end):
    """Before its start, right behind `session_start`; and in its midst, with a timeline event."""
    scene.recovered = [Recovered("before", "partial")]
    turn = await scene.accepted()
    await scene.sandbox.say(Recovered("meanwhile"))
    await scene.sandbox.say(text, result, end)
    await turn.finished.wait()
    _, first, second, *_ = await scene.shown(turn)
    assert ("recovered", {"memory": "partial", "warning": "before"}) == first
    assert ("recovered", {"warning": "meanwhile"}) == second
    (event, *_) = await scene.timeline()
    assert ("lifecycle", {"action": "recovered", "warnings": ["meanwhile"]}) == (
        event[0],
        json.loads(event[1]),
    )


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ('"4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"', "4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"),
        ('"../../other"', None),
        ('"4F7F6BD5-4FD1-4A0C-9A4E-0F9C1D4BE000"', None),
        ("5", None),
        ("null", None),
    ],
)
async def test_turn_keeps_the_id_of_the_conversation(scene, result, end, said, kept):
    """As the message that begins the turn has it, if it has the form of one."""
    init = f'{{"type":"system","subtype":"init","session_id":{said}}}'
    turn = await scene.accepted()
    await scene.sandbox.say(EngineMessage(Raw(init.encode())), result, end)
    await turn.finished.wait()
    assert [(kept,)] == scene.rows("SELECT conversation FROM sessions")


async def test_state_of_the_mcp_servers_is_shown_and_kept(scene, result, end):
    """As a frame, in the order in which it came, and in the timeline; not among the messages."""
    turn = await scene.accepted()
    servers = [McpServerState("mute", "pending"), McpServerState("gone", "failed", "refused")]
    await scene.show(McpStatus(servers))
    await scene.sandbox.say(result, end)
    data = {
        "servers": [
            {"name": "mute", "status": "pending"},
            {"name": "gone", "status": "failed", "error": "refused"},
        ]
    }
    assert ("mcp_status", data) == (await scene.shown(turn))[1]
    assert [("mcp_status", data)] == [
        (kind, json.loads(text)) for kind, text in await scene.timeline() if kind == "mcp_status"
    ]


async def test_turn_that_could_not_be_stored_leaves_what_was_mended_to_the_next(scene):
    """Nobody has seen it."""
    scene.recovered = [Recovered("before", "partial")]
    scene.store.failing["begin_turn"] = OSError("disk")
    turn = scene.begin()
    with pytest.raises(Unavailable):
        await turn.accepted()
    assert scene.recovered == turn.not_told()
    await scene.sandbox.say_result()
    await turn.finished.wait()
