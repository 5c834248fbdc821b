"""The daemon's end of the socket to a bridge, over streams in memory."""

import pytest
import trio
from msgspec import Raw
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ash.errors import EngineFailed
from ash.large_lines import LargeLines
from ash.protocol import (
    EngineExited,
    EngineMessage,
    Exec,
    Failed,
    History,
    HistoryWanted,
    Interrupt,
    Lines,
    Log,
    McpServerState,
    McpStatus,
    Open,
    Opened,
    Ready,
    Recovered,
    Resume,
    TurnDone,
    decode_command,
    encode,
    message_line,
)
from ash.sandbox.link import (
    CHUNK,
    MAX_HISTORIES,
    MAX_RECOVERED,
    MAX_SERVER_TEXT,
    MAX_SERVERS,
    MAX_TEXT,
    TAKES_NOTHING,
    Link,
)


class Bridge:
    """The other end: says events, hears commands."""

    def __init__(self, stream):
        self.stream = stream
        self._lines = Lines()
        self._heard = []

    async def say(self, *events):
        await self.stream.send_all(b"".join(map(encode, events)))

    async def hear(self):
        while not self._heard:
            chunk = await self.stream.receive_some()
            self._heard += [decode_command(bytes(line)) for line in self._lines.feed(bytes(chunk))]
        return self._heard.pop(0)


@pytest.fixture
async def large_lines(nursery):
    lines = LargeLines()
    nursery.start_soon(lines.run)
    return lines


@pytest.fixture
def pair(large_lines):
    ours, theirs = memory_stream_pair()
    return Link(ours, large_lines), Bridge(theirs)


@pytest.fixture
async def running(pair, nursery):
    link, bridge = pair
    nursery.start_soon(link.run)
    yield link, bridge
    await bridge.stream.aclose()
    await link.closed.wait()


def message(text):
    return EngineMessage(Raw(f'"{text}"'.encode()))


async def opened(link, command, results):
    try:
        results.append(await link.open(command))
    except EngineFailed as error:
        results.append(error.text)


async def test_bridge_is_ready_when_it_says_so(running):
    """`ready` is set by the bridge's first word."""
    link, bridge = running
    assert not link.ready.is_set()
    await bridge.say(Ready(7))
    await link.ready.wait()
    assert not link.closed.is_set()


async def test_answers_find_who_asked(running, nursery):
    """Answers are told apart by their id, in whatever order they come."""
    link, bridge = running
    first, second = [], []
    nursery.start_soon(opened, link, Open(session_id="a"), first)
    await wait_all_tasks_blocked()
    nursery.start_soon(opened, link, Resume(session_id="b"), second)
    one, other = await bridge.hear(), await bridge.hear()
    assert ("a", "b") == (one.session_id, other.session_id)
    await bridge.say(Failed("no such thing", other.id))
    await wait_all_tasks_blocked()
    assert ([], ["no such thing"]) == (first, second)
    await bridge.say(Opened(one.id))
    await wait_all_tasks_blocked()
    assert [None] == first


async def test_opening_is_refused_in_the_bridge_s_words(running, nursery):
    """An opening that fails raises what the bridge says is wrong, and is over."""
    link, bridge = running
    results = []
    nursery.start_soon(opened, link, Open(session_id="a"), results)
    await bridge.say(Failed("the CLI is missing", (await bridge.hear()).id))
    await wait_all_tasks_blocked()
    assert ["the CLI is missing"] == results
    assert {} == link._answers


@pytest.mark.parametrize("answer", [Opened, lambda request: Failed("no", request)])
async def test_answer_that_nobody_waits_for_is_dropped(running, answer):
    """A request that was given up on is answered late: that is no turn's error."""
    link, bridge = running
    async with trio.open_nursery() as asking:
        asking.start_soon(link.open, Open(session_id="a"))
        request = (await bridge.hear()).id
        asking.cancel_scope.cancel()
    async with link.turn() as batches:
        await bridge.say(answer(request), message("mine"))
        assert [message("mine")] == await batches.receive()


async def test_turn_gets_what_came_together_together(running):
    """What one read brought is one batch, in its order."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(message("a"), message("b"), Failed("oh"), TurnDone("s"))
        assert [message("a"), message("b"), Failed("oh"), TurnDone("s")] == await batches.receive()


async def test_turn_gets_no_more_than_one_read_at_once(running, nursery):
    """What came in two reads is two batches, so that the first can be shown."""
    link, bridge = running
    half = message("x" * (CHUNK * 2 // 3))
    async with link.turn() as batches:
        nursery.start_soon(bridge.say, message("a"), half, half, TurnDone("s"))
        assert [message("a"), half] == await batches.receive()
        assert [half, TurnDone("s")] == await batches.receive()


async def test_turn_is_not_told_what_is_not_its(running):
    """Log lines and what answers another request are kept from the turn."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(Ready(), Log("stderr", "words"), message("a"))
        assert [message("a")] == await batches.receive()


async def test_busy_turn_holds_the_bridge_up(running):
    """While a turn is busy with a batch nothing more is read: memory stays bounded."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(message("a"))
        await wait_all_tasks_blocked()
        await bridge.say(message("b"))
        await wait_all_tasks_blocked()
        assert [message("a")] == await batches.receive()
        assert [message("b")] == await batches.receive()


async def test_late_events_go_to_nobody(running):
    """What still comes for a turn that was given up on does not reach the next one."""
    link, bridge = running
    async with link.turn():
        await bridge.say(message("unheard"))
        await wait_all_tasks_blocked()
    await bridge.say(message("late"), TurnDone("s"))
    await wait_all_tasks_blocked()
    async with link.turn() as batches:
        await bridge.say(message("mine"))
        assert [message("mine")] == await batches.receive()


@pytest.mark.parametrize(
    "line",
    [
        b'{"ev":"message","data":',
        b"Segmentation fault",
        b'{"ev":"error","error":"\xff"}',
        b'{"ev":"new"}',
        b'{"ev":"message","data":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=["cut", "words", "not UTF-8", "unknown", "too deep"],
)
async def test_broken_line_is_an_error_of_the_turn(running, line):
    """A line that can't be read costs that line, and the link reads on."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.stream.send_all(line + b"\n" + encode(message("next")))
        broken, following = await batches.receive()
        assert Failed("The bridge sent a line that can't be read") == broken
        assert message("next") == following


async def test_line_too_long_is_an_error_of_the_turn(running, monkeypatch):
    """A line past the limit costs that line, and the link reads on."""
    monkeypatch.setattr("ash.sandbox.link.Lines", lambda: Lines(limit=60))
    ours, theirs = memory_stream_pair()
    link, bridge = Link(ours, LargeLines()), Bridge(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(link.run)
        async with link.turn() as batches:
            await bridge.stream.send_all(b"1" * 61 + b"\n" + encode(TurnDone("s")))
            failed, done = await batches.receive()
            assert "The bridge sent too much: a line is longer than 60 bytes" == failed.error
            assert TurnDone("s") == done
        nursery.cancel_scope.cancel()


async def test_payload_is_as_the_bridge_wrote_it(running):
    """A message is handed on byte for byte, however it was cut on its way."""
    link, bridge = running
    raw = b'{ "type":"assistant", "x":"\\u00e9\xc3\xa9" }'
    line = message_line(raw)
    async with link.turn() as batches:
        for at in range(len(line)):
            await bridge.stream.send_all(line[at : at + 1])
        (event,) = await batches.receive()
        assert raw == bytes(event.data)


async def test_end_of_the_bridge_ends_its_turn(running):
    """A turn gets what was still said, and then the end of its channel."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(message("last words"))
        assert [message("last words")] == await batches.receive()
        await bridge.stream.aclose()
        with pytest.raises(trio.EndOfChannel):
            await batches.receive()
    assert link.closed.is_set()


async def test_turn_with_a_bridge_that_is_gone_ends_at_once(running):
    """A turn that begins too late has nothing to wait for."""
    link, bridge = running
    await bridge.stream.aclose()
    await link.closed.wait()
    async with link.turn() as batches:
        with pytest.raises(trio.EndOfChannel):
            await batches.receive()


async def test_end_of_the_bridge_answers_who_waits(running, nursery):
    """Nobody waits for ever: neither for `ready` nor for an answer."""
    link, bridge = running
    results = []
    nursery.start_soon(opened, link, Open(session_id="a"), results)
    await bridge.hear()
    await bridge.stream.aclose()
    await link.ready.wait()
    await wait_all_tasks_blocked()
    assert ["The agent's process ended while it was starting"] == results


async def test_events_that_name_a_turn_are_that_turn_s(running):
    """What came of its query is its own; the late end of an earlier turn does not end it."""
    link, bridge = running
    mine = [Failed("no", id="mine"), TurnDone("session", id="mine")]
    async with link.turn("mine") as batches:
        await bridge.say(Failed("no", id="old"), TurnDone("session", id="old"), *mine)
        assert mine == await batches.receive()


async def test_sending_to_a_bridge_that_is_gone_is_refused(running):
    """A command to nobody is an error that says so."""
    link, bridge = running
    await bridge.stream.aclose()
    with pytest.raises(EngineFailed, match="The agent's process is gone"):
        await link.send(Interrupt())


async def test_connection_that_breaks_ends_the_link(pair, nursery):
    """A connection that is lost is an end like another."""
    link, _ = pair
    nursery.start_soon(link.run)
    await wait_all_tasks_blocked()
    await link._stream.aclose()
    await link.closed.wait()


async def test_commands_are_not_mixed(running, nursery):
    """Commands sent at the same time arrive one after the other, each whole."""
    link, bridge = running
    ids = [str(number) for number in range(20)]
    for each in ids:
        nursery.start_soon(link.send, Interrupt(id=each))
    assert sorted(ids) == sorted([(await bridge.hear()).id for _ in ids])


@pytest.fixture
async def deaf(nursery):
    """The link to a bridge that reads nothing, over a socket that takes as much as the real one."""
    ours, theirs = trio.socket.socketpair()
    link = Link(trio.SocketStream(ours), LargeLines())
    nursery.start_soon(link.run)
    yield link, theirs
    theirs.close()
    await link.closed.wait()


async def test_command_that_is_cut_ends_the_link(deaf):
    """Half of it may have been sent: a bridge that reads on would not understand the next one."""
    link, _ = deaf
    with trio.move_on_after(0.1) as patience:
        await link.send(Exec(command="x" * 10_000_000))
    assert patience.cancelled_caught
    await link.closed.wait()
    assert TAKES_NOTHING == link.fault
    with pytest.raises(EngineFailed, match="is gone"):
        await link.send(Interrupt())


async def test_command_that_is_not_begun_costs_no_link(deaf, nursery):
    """Whoever gives up while another command is being written leaves that one alone."""
    link, _ = deaf
    nursery.start_soon(link.send, Exec(command="x" * 10_000_000))
    await wait_all_tasks_blocked()
    with trio.move_on_after(0.1):
        await link.send(Interrupt())
    assert ("", False) == (link.fault, link.closed.is_set())


async def test_bridge_that_asks_for_the_history_and_reads_nothing_is_ended(deaf, monkeypatch):
    """Nothing that it says is read meanwhile, so it would be waited for for ever."""
    link, theirs = deaf
    monkeypatch.setattr("ash.sandbox.link.PATIENCE_SECONDS", 0.1)

    async def remember():
        await trio.lowlevel.checkpoint()
        return [Raw(b'"%b"' % (b"x" * 10_000_000))]

    link.remember = remember
    await theirs.send(encode(HistoryWanted("1")))
    await link.closed.wait()
    assert TAKES_NOTHING == link.fault


async def test_end_of_an_idle_engine_is_told_each_time(running, nursery):
    """Whoever waits for it hears why, also when it came before the waiting; then the next."""
    link, bridge = running
    await bridge.say(EngineExited("first"))
    await wait_all_tasks_blocked()
    assert "first" == await link.engine_gone()
    nursery.start_soon(bridge.say, EngineExited("second"))
    assert "second" == await link.engine_gone()


async def test_end_of_an_idle_engine_is_no_turn_s(running):
    """A turn that begins at that moment is told nothing: the bridge starts another engine."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(EngineExited("oh"), message("mine"))
        assert [message("mine")] == await batches.receive()


async def test_history_is_sent_a_few_times(running):
    """A bridge in the agent's hands can't make the daemon read for ever."""
    link, bridge = running
    asked = []

    async def remember():
        await trio.lowlevel.checkpoint()
        asked.append(1)
        return [Raw(b'{"type":"user"}')]

    link.remember = remember
    for number in range(MAX_HISTORIES + 1):
        await bridge.say(HistoryWanted(str(number)))
        expected = [Raw(b'{"type":"user"}')] if number < MAX_HISTORIES else []
        assert History(messages=expected, id=str(number)) == await bridge.hear()
    assert MAX_HISTORIES == len(asked)


async def test_history_of_a_sandbox_without_a_session_is_empty(running):
    """The bridge is answered, so it does not wait."""
    _, bridge = running
    await bridge.say(HistoryWanted("1"))
    assert History(messages=[], id="1") == await bridge.hear()


async def test_what_was_mended_is_kept_until_it_is_taken(running):
    """What the daemon mended comes first; the bridge's are few and short, whatever it sends."""
    link, bridge = running
    link.note_mended(["by us"])
    await bridge.say(*[Recovered("x" * 2 * MAX_TEXT, "partial")] * 2 * MAX_RECOVERED, Ready())
    await link.ready.wait()
    await wait_all_tasks_blocked()
    ours, *theirs = link.take_recovered()
    assert Recovered("by us") == ours
    assert [Recovered("x" * MAX_TEXT, "partial")] * (MAX_RECOVERED - 1) == theirs
    assert [] == link.take_recovered()


async def test_what_is_mended_in_a_turn_is_the_turn_s(running):
    """It comes in order with the turn's messages."""
    link, bridge = running
    async with link.turn() as batches:
        await bridge.say(Recovered("it", "lost"), message("a"))
        assert [Recovered("it", "lost"), message("a")] == await batches.receive()
    assert [] == link.take_recovered()


async def test_state_of_the_mcp_servers_is_bounded(running):
    """A bridge may say anything, and much of it: what a turn keeps is limited."""
    link, bridge = running
    server = McpServerState("n" * 3000, "failed", "e" * 3000)
    async with link.turn() as batches:
        await bridge.say(McpStatus([server] * (MAX_SERVERS + 1)))
        ((status,),) = [await batches.receive()]
    short = McpServerState("n" * MAX_SERVER_TEXT, "failed", "e" * MAX_SERVER_TEXT)
    assert [short] * MAX_SERVERS == status.servers
