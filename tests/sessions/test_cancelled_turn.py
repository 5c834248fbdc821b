"""A turn whose tree is cut down while the store works: nothing that was begun is left half done."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

BROKEN = {"error": "The sandbox broke in the middle of the turn"}


@pytest.fixture
def cut_down_during(scene):
    """Runs a turn, cancels it while the store holds a call back, then lets that call go on."""

    async def cut(call, *batch):
        async with trio.open_nursery() as scene.nursery:
            if not batch:
                scene.store.gates[call] = gate = trio.Event()
            turn = scene.begin()
            if batch:
                await turn.accepted()
                scene.store.gates[call] = gate = trio.Event()
                await scene.sandbox.say(*batch)
            await wait_all_tasks_blocked()
            scene.nursery.cancel_scope.cancel()
            await trio.lowlevel.cancel_shielded_checkpoint()
            gate.set()
        assert turn.last_frame is not None
        return turn

    return cut


async def test_turn_cancelled_while_it_is_stored_has_a_beginning_and_an_end(scene, cut_down_during):
    """Its row may be committed when the cancel comes: it is shown, and it ends."""
    turn = await cut_down_during("begin_turn")
    assert [("error",)] == scene.rows("SELECT reason FROM turns")
    assert ["session_start", "error", "done"] == [event for event, _ in await scene.shown(turn)]


async def test_message_that_is_being_stored_when_the_turn_is_cancelled_is_shown(
    scene, cut_down_during, text
):
    """What is stored is shown, before the error that ends the turn."""
    turn = await cut_down_during("append", text)
    shown = await scene.shown(turn)
    assert ["session_start", "message", "error", "done"] == [event for event, _ in shown]
    assert BROKEN == shown[2][1]
    assert [("user",), ("assistant",)] == scene.rows(
        "SELECT json_extract(content, '$.type') FROM messages ORDER BY sequence"
    )


async def test_end_that_is_being_stored_when_the_turn_is_cancelled_holds(
    scene, cut_down_during, result, end
):
    """A turn that completed is completed, whatever becomes of its sandbox a moment later."""
    turn = await cut_down_during("end_turn", result, end)
    assert [("completed",)] == scene.rows("SELECT reason FROM turns")
    event, data = (await scene.shown(turn))[-1]
    assert ("done", "completed") == (event, data["reason"])


async def test_cancelled_turn_ends_once(scene):
    """Its end is stored and shown one time; the cancel goes on to whoever sent it."""
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as scene.nursery:
            turn = await scene.accepted()
            scope.cancel()
    assert 1 == scene.store.asked.count("end_turn")
    assert not turn.broken
    assert ["session_start", "error", "done"] == [event for event, _ in await scene.shown(turn)]
