import pytest
import trio

from ash.http.server.http_stream import RequestBody

DISCONNECT = {"type": "http.disconnect"}


def body(content, *, more=True):
    return {"type": "http.request", "body": content, "more_body": more}


@pytest.fixture
def wanted():
    """How often a body was asked for of which nothing was there."""
    return []


@pytest.fixture
def inbox(wanted):
    async def want_body():
        wanted.append("body")

    return RequestBody(want_body)


async def test_what_came_is_one_event(inbox, wanted):
    """Parts that came since the last time are handed over together, and their end with them."""
    await inbox.put(body(b"one "))
    await inbox.put(body(b"two", more=False))
    assert await inbox.receive() == body(b"one two", more=False)
    assert wanted == []


async def test_empty_body_is_an_event(inbox):
    """A request without a body has one empty, last part."""
    await inbox.put(body(b"", more=False))
    assert await inbox.receive() == body(b"", more=False)


async def test_body_is_asked_for_when_there_is_none(inbox, wanted, nursery):
    """Whoever waits for a body lets that be known first."""
    nursery.start_soon(inbox.receive)
    await trio.testing.wait_all_tasks_blocked()
    assert wanted == ["body"]


async def test_put_waits_for_room(inbox, autojump_clock, nursery):
    """Beyond 64 KiB whoever brings the body waits until it is taken."""
    with trio.move_on_after(1) as waiting:
        await inbox.put(body(b"x" * 70_000))
    assert waiting.cancelled_caught
    nursery.start_soon(inbox.put, body(b"y"))
    await trio.testing.wait_all_tasks_blocked()
    assert await inbox.receive() == body(b"x" * 70_000 + b"y")


async def test_disconnect_waits_for_nobody(inbox, autojump_clock):
    """The disconnect needs no room, and frees whoever waits for some."""
    with trio.fail_after(1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.put, body(b"x" * 70_000))
            await trio.testing.wait_all_tasks_blocked()
            await inbox.put(DISCONNECT)
    events = [await inbox.receive() for _ in range(3)]
    assert events == [body(b"x" * 70_000), DISCONNECT, DISCONNECT]


async def test_whole_body_is_handed_over_once(inbox, wanted, nursery):
    """Whoever asks on after the whole body waits for the disconnect, and no more is asked for."""
    events = []

    async def receive():
        events.append(await inbox.receive())

    await inbox.put(body(b"all", more=False))
    for _ in range(2):
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
    assert [body(b"all", more=False)] == events
    await inbox.put(DISCONNECT)
    await trio.testing.wait_all_tasks_blocked()
    assert [DISCONNECT] == events[1:]


async def test_whole_body_comes_before_the_disconnect(inbox):
    """A client that sends all and leaves is still served."""
    await inbox.put(body(b"all", more=False))
    await inbox.put(DISCONNECT)
    events = [await inbox.receive() for _ in range(3)]
    assert [body(b"all", more=False), DISCONNECT, DISCONNECT] == events


async def test_half_a_body_comes_before_the_disconnect(inbox):
    """What has arrived is handed over, and it is not taken for the whole."""
    await inbox.put(body(b"half"))
    await inbox.put(DISCONNECT)
    assert [body(b"half"), DISCONNECT] == [await inbox.receive() for _ in range(2)]


async def test_each_disconnect_is_a_checkpoint(inbox):
    """An app that asks again and again leaves the loop to others."""
    await inbox.put(DISCONNECT)
    with trio.testing.assert_checkpoints():
        await inbox.receive()
