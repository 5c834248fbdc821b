"""The events of a turn and of a session, as a script reads them."""

import pytest
import trio
import trio.lowlevel

from ash.client import Event
from ash.errors import Unavailable
from tests.support.embedded import SLOW, begin, embedded, say
from tests.support.waiting import until


def names(events):
    return [event.event for event in events]


def reason(events):
    return events[-1].json()["reason"]


async def rests(ash):
    """Waits until no turn runs, whoever reads of it."""

    async def none_runs():
        return not (await ash.health())["pool"]["running"]

    await until(none_runs)


async def test_turn_is_streamed_to_its_done(ash, session):
    """The client's events: named, numbered, and with the bytes that the agent wrote."""
    events = await say(ash, session, "hello", include_partial_messages=True)

    assert all(isinstance(event, Event) for event in events)
    assert ("session_start", "done", "completed") == (
        *names(events)[:: len(events) - 1],
        reason(events),
    )
    assert list(range(1, len(events) + 1)) == [event.id for event in events]
    deltas = [event.json()["delta"] for event in events if event.event == "text_delta"]
    assert "echo: hello" == "".join(deltas)
    stored = [message.content.encode() for message in await ash.list_messages(session)][1:]
    shown = [e.data for e in events if e.event == "message" and b"stream_event" not in e.data]
    assert stored == shown


async def test_next_message_may_follow_the_done_at_once(ash, session):
    """Who has seen the end of a turn can begin the next."""
    for number in range(20):
        assert "completed" == reason(await say(ash, session, f"{number}"))


async def test_content_may_be_blocks(ash, session):
    """As the API takes them."""
    events = await say(ash, session, [{"type": "text", "text": "hello"}])
    assert "completed" == reason(events)
    assert '{"type":"user","content":[{"type":"text","text":"hello"}]}' == (
        (await ash.list_messages(session))[0].content
    )


async def test_failed_turn_says_why(ash, session):
    """An error is an event of the stream, not an exception; the session goes on."""
    events = await say(ash, session, "FAIL: 529")
    assert ["error", "done"] == names(events)[-2:]
    assert "error" == reason(events)
    assert "completed" == reason(await say(ash, session, "hello"))


async def test_stream_that_is_left_early_leaves_the_turn(ash, session):
    """Unless it is to be interrupted."""
    async with await begin(ash, session):
        pass
    assert await ash.interrupt_session(session)

    async with ash.send_message(session, SLOW, on_disconnect="interrupt") as events:
        await anext(events)
    with trio.fail_after(10):
        async with ash.stream_session(session, after=0) as events:
            async for event in events:
                if event.event == "done" and reason([event]) == "interrupted":
                    break
    assert "completed" == reason(await say(ash, session, "hello", when_busy="queue"))


async def test_stream_is_over_when_it_was_closed(ash, session):
    """Nothing comes behind `aclose`, nor behind the end."""
    stream = await begin(ash, session)
    await stream.aclose()
    assert [] == [event async for event in stream]
    done = ash.send_message(session, "hello", when_busy="interrupt")
    assert "done" == [event async for event in done][-1].event
    assert [] == [event async for event in done]


async def test_session_is_watched_over_its_turns(ash, session):
    """From the first frame to its end, also through a pause."""
    seen = []

    async def watch():
        async with ash.stream_session(session, after=0) as events:
            async for event in events:
                seen.append(event)  # noqa: PERF401 - seen as they come

    first = await say(ash, session, "one")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await ash.stop_session(session)
            await ash.resume_session(session)
            second = await say(ash, session, "two")
            await ash.end_session(session)
    assert [*first, *second] == seen


async def test_reader_that_falls_behind_misses_no_message(ash, session, monkeypatch):
    """What lasts comes from the store; which deltas are gone is said."""
    monkeypatch.setattr("ash.sessions.frame_ring.RING_BYTES", 20_000)
    message = ash.send_message(session, "BURST: 2000", include_partial_messages=True)
    async with message as events:
        first = await anext(events)
        await rests(ash)
        await say(ash, session, "another")
        rest = [event async for event in events]
    assert "session_start" == first.event
    assert {"gap", "message", "turn_complete"} <= set(names(rest))
    assert ["done"] == [name for name in names(rest) if name == "done"]
    assert "completed" == reason(rest)
    assert any(b"tick1999" in event.data for event in rest if event.event == "message")


async def test_long_backlog_leaves_the_loop_to_others(ash, session):
    """Reading what is there already is no reason to keep the script waiting."""
    message = ash.send_message(session, "BURST: 3000", include_partial_messages=True)
    passes = 0

    async def count_passes():
        nonlocal passes
        while True:
            await trio.lowlevel.checkpoint()
            passes += 1

    async with message as events:
        await rests(ash)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_passes)
            count = len([event async for event in events])
            nursery.cancel_scope.cancel()
    assert count > 3000
    assert passes > 10


async def test_turn_that_can_not_be_stored_is_told(data_dir, monkeypatch):
    """The stream breaks with words; the session says it failed, and can be resumed."""
    async with embedded(data_dir) as ash:
        await ash.deploy_agent("helper", system_prompt="be kind")
        session = (await ash.create_session("helper")).id
        async with await begin(ash, session) as events:
            with monkeypatch.context() as patch:

                async def fail(*_, **__):
                    raise OSError("no disk")

                patch.setattr("ash.store.Store.end_turn", fail)
                await ash.interrupt_session(session)
            with pytest.raises(Unavailable, match="could not be stored"):
                async for _ in events:
                    pass

        async def has_failed():
            return (await ash.get_session(session)).status == "error"

        await until(has_failed)
        await ash.resume_session(session)
        assert "completed" == reason(await say(ash, session, "hello"))
