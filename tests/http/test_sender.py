import pytest
import trio

from ash.http.server.sender import ClientGone, Sender

LARGE = b"x" * 5_000_000


@pytest.fixture
async def pair():
    """A sender with 30 s of patience, and the stream of its client."""
    ours, theirs = trio.socket.socketpair()
    async with trio.SocketStream(ours) as client, trio.SocketStream(theirs) as stream:
        yield Sender(stream, 30), client


async def test_nothing_follows_a_send_that_was_cut_short(pair, autojump_clock):
    """After a cancelled send the next is refused, though the client reads again."""
    sender, client = pair
    with trio.move_on_after(1):
        await sender.send(LARGE)
    await client.receive_some(1_000_000)
    with pytest.raises(ClientGone):
        await sender.send(b"more")


async def test_nothing_follows_a_send_that_was_cancelled_before_its_turn(pair, autojump_clock):
    """What waits for its turn is part of the answer as well: without it nothing is right."""
    sender, _ = pair
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, LARGE)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await sender.send(b"second")
        with pytest.raises(ClientGone):
            await sender.send(b"third")
        nursery.cancel_scope.cancel()


async def test_send_that_finds_no_room_ends_in_time(pair, autojump_clock):
    """A client that takes no byte for the timeout is gone."""
    sender, _ = pair
    with pytest.raises(ClientGone):
        await sender.send(LARGE)
    assert trio.current_time() == 30


async def test_client_that_closed_is_gone(pair, autojump_clock):
    """So is a client that has closed its end."""
    sender, client = pair
    await client.aclose()
    with pytest.raises(ClientGone):
        await sender.send(b"x")
