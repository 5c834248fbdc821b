"""A stream outlives its connections: nothing is lost, nothing comes or is sent twice."""

import pytest
import trio

from ash import AshApiError, AsyncAshClient
from ash.client import MessageInDoubt
from ash.client.reconnecting import ATTEMPTS
from tests.support import waiting
from tests.support.daemon import KEY, PATIENCE, running, settings


def everything(event):
    return True


def until(name):
    return lambda event: event.event != name


def frames(events):
    return [(event.id, event.event, event.data) for event in events]


async def shown(us, session, after):
    """What the daemon itself has behind that id, up to the next `done`."""
    async with us.watching(session, f"?after={after}") as stream:
        return frames(await stream.up_to("done"))


async def users(us, session):
    return [row["content"] for row in await us.history(session) if row["role"] == "user"]


async def test_turn_whose_connection_is_cut_again_and_again(far, proxy, us, session):
    """The same frames as without a cut, in their order, and the message was sent once."""
    proxy.cuts = [900, 700, 1500, 0, 2500]

    events = await far.take(
        everything, "send_message", session, "SLOW: 60 0.6", include_partial_messages=True
    )

    assert [] == proxy.cuts
    assert await shown(us, session, events[0].id - 1) == frames(events)
    assert 60 == sum(event.event == "text_delta" for event in events)
    assert 1 == proxy.asked.count(b"POST ")
    assert 1 == len(await users(us, session))


async def test_loss_is_told_once(far, proxy, session):
    """One sentence for each time that a stream comes back, whatever it takes."""
    proxy.cuts = [900, 0, 0]

    await far.take(everything, "send_message", session, "hello", include_partial_messages=True)

    (told,) = far.told
    assert told.startswith(f"the connection to {proxy.url} broke off: ")
    assert told.endswith("; coming back to the stream")


async def test_session_whose_connection_is_cut(far, proxy, us, session):
    """A watcher goes on where it was, from turn to turn."""
    first = await us.say(session, "one")
    second = await us.say(session, "two")
    proxy.cuts = [1200, 1000, 900]

    events = await far.take(
        lambda event: event.id < second[-1].id, "stream_session", session, after=0
    )

    assert [] == proxy.cuts
    assert frames(first + second) == frames(events)
    assert b"POST " not in proxy.asked


async def test_connection_that_is_cut_before_the_first_frame(far, proxy, us, session):
    """Nobody can say whether the message was accepted; it is told so and is not sent again."""
    proxy.cuts = [0]

    with pytest.raises(MessageInDoubt, match="may have been accepted or not") as caught:
        await far.take(everything, "send_message", session, "hello")

    assert 0 == caught.value.status
    assert 1 == proxy.asked.count(b"POST ")
    await us.completes(session)
    assert 1 == len(await users(us, session))


async def test_message_that_is_refused(far, proxy, us, session):
    """What the server said, and nothing is sent twice."""
    await us.post(f"/api/sessions/{session}/pause")

    with pytest.raises(AshApiError, match=r"^Session is paused: resume it ") as caught:
        await far.take(everything, "send_message", session, "hello")

    assert 400 == caught.value.status
    assert 1 == proxy.asked.count(b"POST ")
    assert [] == await users(us, session)


async def test_message_on_a_busy_session(script, us, session):
    """A turn that runs is a 409, and goes on."""
    async with us.sending(session, "SLOW: 2 0.4", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        with pytest.raises(AshApiError, match="A turn is running") as caught:
            await script.take(everything, "send_message", session, "hello")
        assert 409 == caught.value.status
        assert "completed" == (await stream.until("done")).value["reason"]


async def test_stream_that_is_left_early(script, us, session):
    """The turn goes on to its end."""
    events = await script.take(
        until("text_delta"),
        "send_message",
        session,
        "SLOW: 2 0.4",
        include_partial_messages=True,
    )

    assert "text_delta" == events[-1].event
    await us.completes(session)


async def test_stream_that_is_left_early_with_its_turn(script, us, session):
    """With `on_disconnect` the turn ends."""
    await script.take(
        until("session_start"), "send_message", session, "SLOW: 100 60", on_disconnect="interrupt"
    )

    async with us.watching(session, "?after=0") as stream:
        assert "interrupted" == (await stream.until("done")).value["reason"]


async def test_server_that_falls_silent(script, soon, monkeypatch):
    """Without its pings it counts as gone, however long its first answer may have taken."""
    monkeypatch.setattr("ash.client.reconnecting.SILENCE", 0.1)
    monkeypatch.setattr("ash.client.stream_calls.SILENCE", 30)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    answers = [(0.3, b"id: 1\nevent: session_start\n"), (0, b"id: 2\nevent: done\n")]

    async def serve(connection):
        pause, frame = answers.pop(0)
        async with connection:
            await connection.receive_some()
            await trio.sleep(pause)
            await connection.send_all(head + frame + b"data: {}\n\n")
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        near = script.at(f"http://127.0.0.1:{listener.socket.getsockname()[1]}")
        events = await near.take(everything, "send_message", "s1", "hello")
        nursery.cancel_scope.cancel()

    assert [1, 2] == [event.id for event in events]
    assert 1 == len(near.told)


async def test_gap_is_handed_on(script, us, session, monkeypatch):
    """What is no longer there is named, in its place."""
    monkeypatch.setattr("ash.sessions.frame_ring.RING_BYTES", 2000)
    options = {"include_partial_messages": True}
    await script.take(until("session_start"), "send_message", session, "BURST: 100", **options)
    await us.completes(session)

    events = await script.take(until("done"), "stream_session", session, after=0)

    gaps = [event.json() for event in events if event.event == "gap"]
    assert gaps
    assert {"requested", "earliest", "latest"} == gaps[0].keys()


async def test_stream_of_a_session_that_ends(script, us, session):
    """It ends by itself, when all has been read."""
    said = await us.say(session, "hello")
    await us.delete(f"/api/sessions/{session}")

    events = await script.take(everything, "stream_session", session, after=0)

    assert frames(said) == frames(events)
    assert [] == await script.take(everything, "stream_session", session, after=events[-1].id)


async def test_server_that_does_not_come_back(far, proxy, session):
    """After the last attempt it is told so, and that the turn may go on."""
    proxy.cuts = [900, *[0] * ATTEMPTS, 0]

    with pytest.raises(AshApiError, match=f"{ATTEMPTS} attempts to come back failed") as caught:
        await far.take(everything, "send_message", session, "SLOW: 20 5")

    assert "the turn may go on" in caught.value.text
    assert 1 == len(proxy.cuts)


@pytest.fixture
def patient(soon, monkeypatch):
    """Comes back as often as it takes a daemon to start."""
    monkeypatch.setattr("ash.client.reconnecting.ATTEMPTS", 1000)


@pytest.mark.usefixtures("patient")
async def test_watcher_outlives_a_restart(proxy, daemon, session):
    """The daemon ends and another begins: the same stream goes on, without a frame twice."""
    before = await daemon.us.say(session, "before")
    events, seen = [], trio.Event()

    async def watch():
        async with AsyncAshClient(proxy.url, KEY) as client:
            async for event in client.stream_session(session, after=0):
                events.append(event)
                if event.id == before[-1].id:
                    seen.set()

    with trio.fail_after(2 * PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            await seen.wait()
            await daemon.stop()
            async with running(settings(daemon.data_dir)) as second:
                proxy.upstream = second.url
                (await second.us.post(f"/api/sessions/{session}/resume")).raise_for_status()
                after = await second.us.say(session, "after")
                await second.us.delete(f"/api/sessions/{session}")
                await waiting.until(lambda: not nursery.child_tasks)

    assert frames([*before, *after]) == frames(events)


@pytest.mark.usefixtures("patient")
async def test_turn_that_a_restart_ends(proxy, daemon, session):
    """Whoever sent the message hears its end, also when that comes from the next daemon."""
    async with (
        AsyncAshClient(proxy.url, KEY) as client,
        client.send_message(session, "SLOW: 100 60") as stream,
    ):
        first = await anext(stream)
        proxy.upstream = "http://127.0.0.1:1"
        await proxy.cut_all()
        await daemon.stop()
        async with running(settings(daemon.data_dir)) as second:
            proxy.upstream = second.url
            events = [first, *[event async for event in stream]]

    assert ("session_start", "done") == (events[0].event, events[-1].event)
    assert "shutdown" == events[-1].json()["reason"]
