"""Who gets the connections through the proxies when there are few."""

import socket
import threading

import pytest
import trio

from ash.egress.dial import LOOKUPS_AT_ONCE, Resolver
from ash.egress.places import Bounded, Places, Share
from tests.support.egress import whole


async def taken(places, share, count):
    return [await places.take(share) for _ in range(count)]


@pytest.mark.parametrize(("total", "each"), [(4096, 128), (100, 25), (20, 8), (6, 8)])
def test_a_sandbox_gets_a_part_of_all_places(total, each):
    """At most a quarter, as a browser needs no more than 128, and at least a few."""
    assert each == Places(total).each


async def test_sandbox_with_the_most_gives_its_oldest_to_another(autojump_clock):
    """Many connections of a few sandboxes keep nobody out: all end up with as many."""
    places, hog, other = Places(8), Share(), Share()
    first = await taken(places, hog, 8)
    for place in first:
        place.idle = False
    await taken(places, other, 4)
    assert [True] * 4 + [False] * 4 == [place.ended for place in first]
    assert [True] * 4 + [False] * 4 == [place.scope.cancel_called for place in first]
    with trio.move_on_after(100) as waiting:
        await places.take(other)
    assert waiting.cancelled_caught


async def test_idle_connection_is_given_before_a_busy_one(autojump_clock):
    """A call under way ends only if there is no connection without one."""
    places, hog, other = Places(4), Share(), Share()
    first = await taken(places, hog, 4)
    for place in first:
        place.idle = place is first[2]
    await taken(places, other, 1)
    assert [False, False, True, False] == [place.ended for place in first]


async def test_place_is_given_back_once(autojump_clock):
    """A connection that was ended for another one does not free a second place."""
    places, hog, other = Places(2), Share(), Share()
    first, second = await taken(places, hog, 2)
    await taken(places, other, 1)
    first.give_back()
    with trio.move_on_after(100) as waiting:
        await places.take(other)
    assert waiting.cancelled_caught
    second.give_back()
    with trio.fail_after(1):
        await places.take(other)


async def test_connection_that_gets_no_place_is_closed(autojump_clock):
    """Ending a listener that waits for a place leaves no socket behind."""
    ours, theirs = trio.socket.socketpair()

    class One:
        async def accept(self):
            return trio.SocketStream(theirs)

    places = Places(1)
    await places.take(Share())
    with trio.move_on_after(1):
        await Bounded(One(), places).accept()
    assert b"" == await ours.recv(1)
    ours.close()


async def test_agent_is_told_that_a_connection_was_ended_for_another(proxy, serve):
    """Its log says why; the model can be reached again at once."""
    server = await serve(whole)
    places = Places(3)
    async with proxy("model-only", server.port, places=places) as proxied:
        clients = [await proxied.inside() for _ in range(3)]
        for client in clients:
            assert 200 == (await client.ask("POST", "/v1/messages", body=b"{}"))[0]
        await places.take(Share())
        with trio.fail_after(5):
            assert b"" == await clients[0].stream.receive_some()
        await trio.testing.wait_all_tasks_blocked()
        [(_, line)] = proxied.log
    assert "this sandbox had the most" in line


async def test_lookups_of_all_sandboxes_are_bounded(monkeypatch):
    """Names that never resolve take a bounded number of threads, also if nobody waits any more."""
    threads, go_on = [], threading.Event()

    def hang(*_, **__):
        threads.append(1)
        go_on.wait(20)
        raise OSError("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    places = Places()
    places.lookups.total_tokens = LOOKUPS_AT_ONCE + 1
    resolvers = [Resolver(places.lookups) for _ in range(3)]
    try:
        with trio.move_on_after(0.2):
            async with trio.open_nursery() as nursery:
                for number in range(60):
                    nursery.start_soon(resolvers[number % 3], f"{number}.example.com")
        with trio.move_on_after(0.1):
            await resolvers[0]("late.example.com")
        assert LOOKUPS_AT_ONCE + 1 == len(threads)
    finally:
        go_on.set()
    while places.lookups.borrowed_tokens:
        await trio.lowlevel.checkpoint()
    with pytest.raises(OSError, match="no such host"):
        await resolvers[0]("late.example.com")
