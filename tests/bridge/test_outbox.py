"""The outbox sends what is ready in one write and bounds the memory of unsent lines."""

import pytest
import trio
from trio.testing import MemorySendStream, wait_all_tasks_blocked

from bridge.outbox import BATCH, HIGH_WATER, Outbox


class _Stream(trio.abc.SendStream):
    """Records each send; `gate` blocks sends."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.gate = trio.Event()

    async def send_all(self, data: bytes) -> None:
        await self.gate.wait()
        self.sent.append(data)

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


@pytest.fixture
async def outbox(nursery) -> Outbox:
    outbox = Outbox()
    outbox.stream = _Stream()
    nursery.start_soon(outbox.send_to, outbox.stream)
    return outbox


async def test_lines_that_are_ready_together_go_out_together(outbox) -> None:
    """Lines that are ready together go out in one send, in order."""
    outbox.stream.gate.set()
    for line in (b"a\n", b"b\n", b"c\n"):
        await outbox.put(line)
    await outbox.flush()
    assert [b"a\nb\nc\n"] == outbox.stream.sent


async def test_first_line_never_waits_for_a_second(outbox) -> None:
    """A single line goes out at once; lines that come during its send follow together."""
    await outbox.put(b"a\n")
    await wait_all_tasks_blocked()
    await outbox.put(b"b\n")
    await outbox.put(b"c\n")
    outbox.stream.gate.set()
    await outbox.flush()
    assert [b"a\n", b"b\nc\n"] == outbox.stream.sent


async def test_a_send_is_no_larger_than_a_batch_unless_one_line_is(outbox) -> None:
    """Only a single large line makes a send larger than a batch."""
    outbox.stream.gate.set()
    large = b"x" * (BATCH + 1)
    for line in (b"a", large, b"b", b"y" * BATCH):
        await outbox.put(line)
    await outbox.flush()
    assert [b"a", large, b"b", b"y" * BATCH] == outbox.stream.sent


async def test_put_waits_while_too_much_is_unsent(outbox, nursery) -> None:
    """`put` waits until the reader has caught up."""
    await outbox.put(b"x" * HIGH_WATER)
    nursery.start_soon(outbox.put, b"late")
    await wait_all_tasks_blocked()
    assert b"late" not in outbox._lines
    outbox.stream.gate.set()
    await wait_all_tasks_blocked()
    assert [b"x" * HIGH_WATER, b"late"] == outbox.stream.sent


async def test_urgent_line_does_not_wait(outbox) -> None:
    """`put_now` adds a line at once although too much is unsent."""
    await outbox.put(b"x" * HIGH_WATER)
    outbox.put_now(b"urgent")
    outbox.stream.gate.set()
    await outbox.flush()
    assert b"urgent" == outbox.stream.sent[-1]


async def test_daemon_that_has_gone_ends_the_sending() -> None:
    """Sending raises an error when the daemon has gone."""
    outbox = Outbox()
    stream = MemorySendStream()
    await stream.aclose()
    outbox.put_now(b"a\n")
    with pytest.raises(trio.ClosedResourceError):
        await outbox.send_to(stream)
