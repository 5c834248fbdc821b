"""What a process prints, as lines of its session's log."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from ash.errors import Unavailable
from ash.sandbox.logs import (
    LINES_AT_ONCE,
    LINES_PER_SECOND,
    MAX_TEXT,
    SCRIPT_BYTES,
    SCRIPT_LINES,
    LogRate,
    SessionLogWriter,
    end_of,
    pump,
)


class Sink(list):
    """Takes lines, and can be held."""

    def __init__(self):
        super().__init__()
        self.gate = trio.Event()
        self.gate.set()

    async def __call__(self, lines):
        await self.gate.wait()
        self.append(lines)

    @property
    def texts(self):
        return [text for lines in self for _, text in lines]


async def pumped(chunks):
    """The texts that come of what was printed in these chunks."""
    ours, theirs = memory_stream_pair()
    sink = Sink()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, ours, "stdout", sink)
        for chunk in chunks:
            await theirs.send_all(chunk)
            await wait_all_tasks_blocked()
        await theirs.aclose()
    return sink.texts


async def test_lines_are_kept_with_their_level():
    """Each line is one entry; what was printed at once comes at once."""
    ours, theirs = memory_stream_pair()
    sink = Sink()
    await theirs.send_all(b"one\ntwo\n")
    await theirs.aclose()
    await pump(ours, "stderr", sink)
    assert [[("stderr", "one"), ("stderr", "two")]] == sink


async def test_line_is_kept_when_it_is_whole():
    """A line that comes in pieces is one line, cut characters included."""
    assert ["né", "two"] == await pumped([b"n\xc3", b"\xa9\ntw", b"o\n"])


async def test_last_line_needs_no_line_feed():
    """What a process said before it died is kept."""
    assert ["one", "last words"] == await pumped([b"one\nlast", b" words"])


async def test_blank_lines_are_kept():
    """A log reads as it was printed."""
    assert ["", "a", "", ""] == await pumped([b"\na\n", b"\n\n"])


async def test_carriage_returns_at_the_end_are_left_out():
    """Some programs end their lines as Windows does."""
    assert ["a", "b\rc"] == await pumped([b"a\r\nb\rc\r\n"])


async def test_what_is_no_text_is_shown_as_such():
    """A byte that is no UTF-8 costs itself, not its line."""
    assert ["a\ufffdb"] == await pumped([b"a\xffb\n"])


async def test_long_line_is_cut_into_several():
    """A line that never ends is kept in pieces, so that nobody has to hold it."""
    assert ["x" * MAX_TEXT, "x" * MAX_TEXT, "x"] == await pumped([b"x" * (2 * MAX_TEXT + 1)])


async def test_printing_waits_for_the_log(nursery):
    """While the log is busy nothing more is read: the program waits, not our memory."""
    ours, theirs = memory_stream_pair()
    sink = Sink()
    sink.gate = trio.Event()
    nursery.start_soon(pump, ours, "stdout", sink)
    await theirs.send_all(b"one\n")
    await wait_all_tasks_blocked()
    await theirs.send_all(b"two\n")
    await wait_all_tasks_blocked()
    assert [] == sink
    sink.gate.set()
    await theirs.aclose()
    await wait_all_tasks_blocked()
    assert ["one", "two"] == sink.texts


@pytest.mark.parametrize("end", ["closed", "broken"])
async def test_end_of_the_stream_ends_the_pump(nursery, end):
    """However the process goes, what it printed is kept."""
    ours, theirs = memory_stream_pair()
    sink = Sink()
    async with trio.open_nursery() as pumping:
        pumping.start_soon(pump, ours, "stdout", sink)
        await theirs.send_all(b"said")
        await wait_all_tasks_blocked()
        await (theirs if end == "closed" else ours).aclose()
    assert ["said"] == sink.texts


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_lines_are_what_was_printed(lines):
    """Any text comes out as it went in, line by line."""
    printed = "".join(f"{line}\n" for line in lines).encode()
    middle = len(printed) // 2
    assert lines == trio.run(
        pumped, [part for part in (printed[:middle], printed[middle:]) if part]
    )


class Store(Sink):
    """Takes no lines while it is full."""

    full = False

    async def __call__(self, lines):
        if self.full:
            raise Unavailable("The disk is full")
        await super().__call__(lines)


def line(text):
    return [("stdout", text)]


async def test_lines_that_are_lost_are_named_in_the_next_one():
    """A log has no hole without a word; what comes before and after it is kept."""
    store = Store()
    journal = SessionLogWriter(store, "the-sandbox")
    await journal.write(line("before"))
    store.full = True
    await journal.write([*line("lost"), *line("lost")])
    await journal.write(line("lost"))
    store.full = False
    await journal.write(line("after"))
    await journal.write(line("later"))
    gap = "Lines missing here, as they could not be stored: 3"
    assert ["before", gap, "after", "later"] == store.texts


async def test_lost_lines_are_named_without_another_one():
    """At the end of a session nothing more may be printed; what is not missing is not named."""
    store = Store()
    journal = SessionLogWriter(store, "the-sandbox")
    await journal.write([])
    store.full = True
    await journal.write(line("lost"))
    store.full = False
    await journal.write([])
    await journal.write([])
    assert ["Lines missing here, as they could not be stored: 1"] == store.texts


async def test_pump_goes_on_while_the_log_fails():
    """Whatever the sink raises: the program that prints doesn't hear of it."""
    ours, theirs = memory_stream_pair()
    store = Store()
    store.full = True
    journal = SessionLogWriter(store, "the-sandbox")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump, ours, "stdout", journal.write)
        await theirs.send_all(b"lost\nlost\n")
        await wait_all_tasks_blocked()
        store.full = False
        await theirs.send_all(b"kept")
        await theirs.aclose()
    assert ["Lines missing here, as they could not be stored: 2", "kept"] == store.texts


async def test_failing_log_is_one_line_of_the_server_s():
    """However much is printed meanwhile; when it fails again, that is told again."""
    store = Store()
    journal = SessionLogWriter(store, "the-sandbox")
    with capture_logs() as told:
        for store.full in (True, True, False, True):
            await journal.write(line("x"))
    assert [("sandbox.log_lost", "the-sandbox")] * 2 == [
        (line["event"], line["sandbox"]) for line in told
    ]


def test_program_that_prints_without_end_is_cut():
    """All that fits is kept; then all is left out until there is room for half as much again."""
    rate = LogRate()
    assert (0, [b""] * LINES_AT_ONCE) == rate.allowed([b""] * (LINES_AT_ONCE + 5), 0)
    assert (0, []) == rate.allowed([b"x"], 1)
    room_at = LINES_AT_ONCE / 2 / LINES_PER_SECOND
    assert (6, [b"y"]) == rate.allowed([b"y"], room_at + 1)


def test_large_lines_count_by_their_bytes():
    """A megabyte a second is too much, however few lines it has."""
    rate = LogRate()
    kept = [rate.allowed([b"x" * MAX_TEXT], 0)[1] for _ in range(1000)]
    assert 129 > sum(map(len, kept))


async def test_lines_that_came_too_fast_are_counted():
    """The log says how many are missing, and the program was not held up."""
    texts = await pumped([b"\n" * (LINES_AT_ONCE + 7)])
    assert LINES_AT_ONCE + 1 == len(texts)
    assert "Lines missing here, as they came too fast: 7" == texts[-1]


@pytest.mark.parametrize("printed", ["", "one", "one\ntwo\n", "one\n\n"])
def test_what_a_script_printed_is_kept(printed):
    """Line by line."""
    assert printed.splitlines() == [text for _, text in end_of("stdout", printed)]


@pytest.mark.parametrize("printed", ["\n" * 1_000_000, "x" * (SCRIPT_BYTES + 1)])
def test_only_the_end_of_what_a_script_printed_is_kept(printed):
    """The end tells why it failed."""
    (level, said), *kept = end_of("stderr", printed)
    assert ("system", f"Only the last {len(kept)} lines of stderr follow") == (level, said)
    assert len(kept) <= SCRIPT_LINES
    assert sum(len(text) for _, text in kept) <= SCRIPT_BYTES
