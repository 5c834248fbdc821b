"""`GET /api/sessions/:id/stream` on a whole daemon: who joins or comes back misses nothing."""

from io import StringIO

import pytest
import trio

from ash.log import configure
from tests.support.daemon import PATIENCE, running, settings

SLOW = "SLOW: 4 1.2"


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def daemon(data_dir):
    async with running(settings(data_dir)) as daemon:
        yield daemon


@pytest.fixture
async def us(daemon):
    return daemon.us


@pytest.fixture
async def session(us):
    await us.deploy()
    return await us.create()


def events(frames):
    return [frame.event for frame in frames]


def lasting(frames):
    """What the store can give back."""
    return [frame for frame in frames if not frame.event.endswith("_delta")]


async def caught_up(us, session, after=0, until="done"):
    """What a client gets that comes back, up to the last `done` there is."""
    with trio.fail_after(PATIENCE):
        async with us.watching(session, f"?after={after}") as stream:
            return await stream.up_to(until)


async def test_watcher_sees_the_turns_that_follow(us, session):
    """The same frames as those who sent the messages, turn after turn, deltas included."""
    async with us.watching(session) as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        assert "no-cache, no-transform" == stream.headers["cache-control"]
        assert "*" == stream.headers["access-control-allow-origin"]
        for text in ("BURST: 5", "hello"):
            sent = await us.say(session, text, includePartialMessages=True)
            assert sent == await stream.up_to("done")


async def test_watcher_joins_in_mid_turn(us, session):
    """Without a cursor it begins with the turn that runs; a cursor leaves out what it has."""
    async with us.sending(session, SLOW, includePartialMessages=True) as turn:
        first = await turn.up_to("text_delta")
        async with (
            us.watching(session) as joined,
            us.watching(session, f"?after={first[0].id}") as back,
        ):
            sent = first + await turn.rest()
            assert sent == await joined.up_to("done")
            assert sent[1:] == await back.up_to("done")


async def test_last_event_id_goes_before_the_address(us, session):
    """An `EventSource` comes back with the header, and with the address that it began with."""
    sent = await us.say(session, "hello")
    async with us.watching(session, f"?after={sent[0].id}", last_id=sent[2].id) as stream:
        assert sent[3:] == await stream.up_to("done")


async def test_every_watcher_of_a_turn_gets_all_of_it(us, session):
    """However many there are."""
    async with trio.open_nursery() as nursery:
        got = []

        async def follow(task_status):
            async with us.watching(session) as stream:
                task_status.started()
                got.append(await stream.up_to("done"))

        for _ in range(5):
            await nursery.start(follow)
        sent = await us.say(session, "BURST: 50", includePartialMessages=True)
    assert [sent] * 5 == got


async def test_watcher_stays_through_a_pause(us, session):
    """Warm or cold: it follows when the session is resumed, and ids go on."""
    async with us.watching(session) as stream:
        for leave in ("pause", "stop"):
            sent = await us.say(session, "hello")
            assert sent == await stream.up_to("done")
            assert (await us.post(f"/api/sessions/{session}/{leave}")).is_success
            assert (await us.post(f"/api/sessions/{session}/resume")).is_success
        last = await us.say(session, "again")
        assert last == await stream.up_to("done")
    assert sent[-1].id + 1 == last[0].id


async def test_paused_session_can_be_watched(us, session):
    """Who comes while it is paused gets what was, and what will be."""
    sent = await us.say(session, "hello")
    await us.post(f"/api/sessions/{session}/stop")
    async with us.watching(session, "?after=0") as stream:
        assert sent == await stream.up_to("done")
        await us.post(f"/api/sessions/{session}/resume")
        assert await us.say(session, "again") == await stream.up_to("done")


async def test_replay_after_a_restart_is_byte_for_byte(data_dir):
    """What lasts of every turn, errors and tools included; what does not is named."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        live = await daemon.us.say(session, "BASH: echo hi")
        live += await daemon.us.say(session, "FAIL: 500")
        partial = await daemon.us.say(session, "BURST: 3", includePartialMessages=True)
    async with running(settings(data_dir)) as daemon:
        back = await caught_up(daemon.us, session)
        async with daemon.us.watching(session, "?after=0") as stream:
            whole = [await anext(stream) for _ in live]
            assert live == whole
            third = await stream.up_to("done")
            assert (await daemon.us.post(f"/api/sessions/{session}/resume")).is_success
            again = await daemon.us.say(session, "again")
            assert again == await stream.up_to("done")
    assert {"tool_use", "tool_result", "error", "turn_complete"} < set(events(live))
    assert back == live[: len(back)]
    named = [frame for frame in third if frame.event == "gap"]
    stored = [frame for frame in third if frame.event != "gap"]
    partly = {frame.id for frame in partial} - {frame.id for frame in stored}
    assert [frame for frame in partial if frame.id not in partly] == stored
    missing = {
        number for gap in named for number in range(gap.value["requested"], gap.value["earliest"])
    }
    assert partly == missing
    assert again[0].id > partial[-1].id


async def test_shutdown_ends_streams(data_dir):
    """A turn's with `done` and its reason, an idle one's without a word, both with an end."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        busy, idle = await daemon.us.create(), await daemon.us.create()
        async with (
            daemon.us.sending(busy, "SLOW: 100 60", includePartialMessages=True) as turn,
            daemon.us.watching(busy) as watched,
            daemon.us.watching(idle) as silent,
        ):
            await turn.until("text_delta")
            with trio.fail_after(PATIENCE):
                await daemon.stop()
            rest = await watched.rest()
            assert ("done", "shutdown") == (rest[-1].event, rest[-1].value["reason"])
            assert [] == await silent.rest()


async def test_end_of_the_session_ends_its_streams(us, session):
    """After its last frame; who comes later gets what was, and a 204 behind that."""
    sent = await us.say(session, "hello")
    async with us.watching(session, f"?after={sent[1].id}") as stream:
        await us.delete(f"/api/sessions/{session}")
        assert sent[2:] == await stream.rest()
    async with us.watching(session, "?after=0") as stream:
        assert sent == await stream.rest()
    for query in (f"?after={sent[-1].id}", ""):
        response = await us.get(f"/api/sessions/{session}/stream{query}")
        assert (204, b"") == (response.status_code, response.content)
        assert "*" == response.headers["access-control-allow-origin"]


async def test_broken_bridge_does_not_lose_a_frame(us, session):
    """Who watches through an error sees it, and what follows the resumption."""
    async with us.watching(session) as stream:
        sent = await us.say(session, "CRASH")
        assert sent == await stream.up_to("done")
        assert "error" in events(sent)
        assert await us.say(session, "again") == await stream.up_to("done")


@pytest.mark.parametrize(
    "query", ["?after=x", "?after=-1", "?after=", f"?after={2**53}", "?after=1e3"]
)
async def test_cursor_that_is_none_is_refused(us, session, query):
    """The error says what is expected, and where."""
    response = await us.get(f"/api/sessions/{session}/stream{query}")
    assert 400 == response.status_code
    assert "after: expected a whole number from 0" in response.json()["error"]
    headers = {"Last-Event-ID": "x"}
    response = await us.get(f"/api/sessions/{session}/stream", headers=headers)
    assert "Last-Event-ID: expected a whole number" in response.json()["error"]


async def test_stream_of_another_is_not_found(daemon, session):
    """Another tenant's session is none, and so is its ticket."""
    for method, path in [("GET", "stream"), ("POST", "stream-ticket")]:
        for client, name in [(daemon.them, session), (daemon.us, "nobody")]:
            response = await client.request(method, f"/api/sessions/{name}/{path}")
            assert (404, 404) == (response.status_code, response.json()["statusCode"])


async def test_stream_is_read_only(daemon, session):
    """Other methods are a 405, and nothing is done without a key."""
    for method in ("POST", "PUT", "DELETE", "HEAD"):
        response = await daemon.us.request(method, f"/api/sessions/{session}/stream")
        assert (405, "GET") == (response.status_code, response.headers["allow"])
        response = await daemon.nobody.request(method, f"/api/sessions/{session}/stream")
        assert 401 == response.status_code


async def ticket_for(us, session):
    response = await us.post(f"/api/sessions/{session}/stream-ticket")
    assert 200 == response.status_code
    assert {"ticket", "expiresAt"} == response.json().keys()
    return response.json()["ticket"]


async def test_ticket_opens_its_stream(daemon, session):
    """Without a key; and again, when the browser comes back."""
    ticket = await ticket_for(daemon.us, session)
    sent = await daemon.us.say(session, "hello")
    async with daemon.nobody.watching(session, f"?after=0&ticket={ticket}") as stream:
        assert sent == await stream.up_to("done")
    async with daemon.nobody.watching(session, f"?ticket={ticket}", last_id=sent[3].id) as stream:
        assert sent[4:] == await stream.up_to("done")


async def test_ticket_opens_nothing_else(daemon, session):
    """No other stream, no other route, nothing that could be changed."""
    other = await daemon.us.create()
    ticket = await ticket_for(daemon.us, session)
    for method, path in [
        ("GET", f"{other}/stream"),
        ("GET", session),
        ("GET", f"{session}/messages"),
        ("POST", f"{session}/messages"),
        ("POST", f"{session}/stream-ticket"),
        ("DELETE", session),
    ]:
        response = await daemon.nobody.request(method, f"/api/sessions/{path}?ticket={ticket}")
        assert (401, "Bearer") == (response.status_code, response.headers["www-authenticate"])
    assert "active" == await daemon.us.status(session)


async def test_ticket_expires(daemon, session, monkeypatch):
    """A minute after it was given, unless a stream that was open comes back with it."""
    ticket = await ticket_for(daemon.us, session)
    monkeypatch.setattr("ash.authentication.CONNECT_SECONDS", -1.0)
    response = await daemon.nobody.get(f"/api/sessions/{session}/stream?ticket={ticket}")
    assert 401 == response.status_code
    assert "ask for another" in response.json()["error"]
    async with daemon.nobody.watching(session, f"?ticket={ticket}", last_id=1) as stream:
        assert 200 == stream.status


async def test_ticket_stays_out_of_logs(daemon, session, monkeypatch):
    """Neither a refusal nor a fault of ours tells it."""
    printed = StringIO()
    configure("info", "json", printed)
    ticket = await ticket_for(daemon.us, session)

    async def fail(*_args):
        raise OSError(5, "I/O error")

    monkeypatch.setattr("ash.store.Store.session", fail)
    response = await daemon.nobody.get(f"/api/sessions/{session}/stream?ticket={ticket}")
    assert 500 == response.status_code
    assert ticket not in response.text
    assert "http.failed" in printed.getvalue()
    assert ticket.rpartition(".")[2] not in printed.getvalue()


async def test_slow_reader_of_a_message_gets_its_done(us, session, monkeypatch):
    """It misses deltas, which are named, and no message: as often as the turn overtakes it."""
    monkeypatch.setattr("ash.sessions.frame_ring.RING_BYTES", 20_000)
    async with us.sending(session, "BIG: 2048", includePartialMessages=True) as slow:
        await us.completes(session)
        answer = await slow.rest()
    again = await caught_up(us, session)
    assert {"gap", "message", "done"} <= set(events(answer))
    assert ("session_start", "done", "completed") == (
        answer[0].event,
        answer[-1].event,
        answer[-1].value["reason"],
    )
    assert [frame.id for frame in answer] == sorted({frame.id for frame in answer})
    kept = [frame for frame in again if frame.event != "gap"]
    assert kept == [frame for frame in answer if frame in kept]


async def test_message_waits_for_the_running_turn(us, session):
    """`?whenBusy=queue`: one turn after the other, each with a stream of its own."""
    answers = []

    async def say(text):
        async with us.sending(session, text, "?whenBusy=queue") as stream:
            answers.append(await stream.rest())

    async with us.sending(session, SLOW, includePartialMessages=True) as one:
        await one.until("text_delta")
        async with trio.open_nursery() as nursery:
            for text in ("two", "three"):
                nursery.start_soon(say, text)
            answers.append(await one.rest())
    ids = [frame.id for answer in answers for frame in answer]
    assert sorted(ids) == ids
    assert ["completed"] * 3 == [answer[-1].value["reason"] for answer in answers]


async def test_message_interrupts_the_running_turn(us, session):
    """`?whenBusy=interrupt`: the first turn says why it ended, the second is answered."""
    async with us.sending(session, "SLOW: 100 60", includePartialMessages=True) as one:
        await one.until("text_delta")
        async with us.sending(session, "now", "?whenBusy=interrupt") as two:
            assert "interrupted" == (await one.rest())[-1].value["reason"]
            assert "completed" == (await two.rest())[-1].value["reason"]


async def test_client_that_leaves_can_take_its_turn_along(us, session):
    """`?onDisconnect=interrupt`: the turn ends with who asked for it, the session goes on."""
    options = "?onDisconnect=interrupt"
    async with us.watching(session) as watched:
        body = {"includePartialMessages": True}
        async with us.sending(session, "SLOW: 100 60", options, **body) as turn:
            await turn.until("text_delta")
        with trio.fail_after(PATIENCE):
            assert "interrupted" == (await watched.up_to("done"))[-1].value["reason"]
        async with us.sending(session, "again", options) as turn:
            assert "completed" == (await turn.rest())[-1].value["reason"]


@pytest.mark.parametrize("query", ["?whenBusy=now", "?onDisconnect=die"])
async def test_option_that_is_none_is_refused(us, session, query):
    """A misspelt word must not do what nobody asked for."""
    response = await us.post(f"/api/sessions/{session}/messages{query}", json={"content": "x"})
    assert 400 == response.status_code
    assert [] == await us.history(session)
