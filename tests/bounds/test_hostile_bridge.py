"""A bridge that was taken over sends anything: all it can hurt is its own session.

The lines come over a real socket. How long a step of the event loop takes is CPU time, and the
bound is ten times what was measured: before there were bounds, the same lines took seconds.
"""

import os
import signal
import socket
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio import SocketStream
from trio.socket import from_stdlib_socket

from ash.egress import ModelFaults
from ash.large_lines import LARGE, MAX_PARTS, NOT_JSON, TOO_COMPLEX, LargeLines, LargeMessage
from ash.protocol import (
    MAX_LINE,
    Exec,
    ExecResult,
    Failed,
    TurnDone,
    decode_command,
    encode,
    message_line,
)
from ash.sandbox.link import Link
from ash.sessions.turn_reader import TurnReader
from tests.support.loop_steps import loop_steps

pytestmark = pytest.mark.process

# In ms. What must hold is 20; the rest is for slow machines.
LONGEST_STEP = 100

MB = 1024 * 1024


@pytest.fixture
async def large_lines(nursery):
    lines = LargeLines()
    nursery.start_soon(lines.run)
    return lines


@asynccontextmanager
async def linked(large_lines):
    """A link that runs, and the bridge's end of its socket."""
    ours, theirs = map(SocketStream, map(from_stdlib_socket, socket.socketpair()))
    link = Link(ours, large_lines)
    async with trio.open_nursery() as nursery, theirs:
        nursery.start_soon(link.run)
        yield link, theirs
        nursery.cancel_scope.cancel()


async def turn_with(link, bridge, data, nursery):
    """What a turn gets of these bytes, read as a turn reads them."""
    reader, found = TurnReader(ModelFaults(0)), []
    nursery.start_soon(bridge.send_all, data + encode(TurnDone("s")))
    async with link.turn() as batches:
        async for batch in batches:
            found.append(reader.read(batch, 1))
            if any(isinstance(event, TurnDone) for event in batch):
                break
    return reader, found


def of(kind, fields):
    return b'{"type":"%s",%s}' % (kind, fields)


def blocks(block, size):
    return b'"message":{"content":[%s]}' % b",".join([block] * (size // (len(block) + 1)))


SIZE = 4 * MB
MESSAGES = {
    "blocks of text": of(b"assistant", blocks(b'{"type":"text"}', SIZE)),
    "calls of tools": of(b"assistant", blocks(b'{"type":"tool_use"}', SIZE)),
    "results of tools": of(b"user", blocks(b'{"type":"tool_result"}', SIZE)),
    "half a character again and again": of(b"assistant", b'"x":"%s"' % (b"\\ud800" * (SIZE // 6))),
    "digits": of(b"result", b'"num_turns":%s' % (b"9" * SIZE)),
    "errors": of(b"result", b'"is_error":true,"errors":[%s]' % b",".join([b"{}"] * (SIZE // 3))),
    "names": of(b"system", b",".join(b'"%d":0' % at for at in range(SIZE // 10))),
    "lists in lists": of(b"assistant", b'"x":%s' % (b"[" * SIZE + b"]" * SIZE)),
    "no end": b'{"type":"result"' + b" " * SIZE,
    "two values": of(b"assistant", b'"x":0') + b"," + b" " * SIZE + b'"ev":"done"',
    "no text": of(b"assistant", b'"x":"%s"' % (b"\xff" * SIZE)),
}


@pytest.mark.parametrize("raw", MESSAGES.values(), ids=MESSAGES)
async def test_large_message_of_any_kind_holds_nobody_up(large_lines, nursery, raw):
    """The turn goes on to its end, whether the message can be read or not."""
    async with linked(large_lines) as (link, bridge):
        with loop_steps() as steps:
            await turn_with(link, bridge, message_line(raw), nursery)
    assert steps.longest < LONGEST_STEP, steps.task


async def test_message_with_too_many_parts_is_left_out_and_said(large_lines, nursery):
    """The turn ends in an error that says so."""
    raw = of(b"assistant", blocks(b"{}", 3 * (MAX_PARTS + 1)))
    async with linked(large_lines) as (link, bridge):
        reader, found = await turn_with(link, bridge, message_line(raw), nursery)
    assert TOO_COMPLEX == reader.fault
    assert [] == [entry for batch in found for entry in batch.entries]


@pytest.mark.parametrize("raw", [MESSAGES["no end"], MESSAGES["two values"], MESSAGES["no text"]])
async def test_large_line_that_is_no_json_is_left_out_and_said(large_lines, nursery, raw):
    """Clients are shown JSON only; and no forged line passes for two."""
    async with linked(large_lines) as (link, bridge):
        reader, found = await turn_with(link, bridge, message_line(raw), nursery)
    assert NOT_JSON == reader.fault
    assert [] == [frame for batch in found for frame in batch.frames]


async def test_large_message_is_passed_on_unchanged(large_lines, nursery):
    """With the frames and the events that follow from it, as for a small one."""
    call = b'{"type":"tool_use","id":"t","name":"n","input":"%s"}' % (b"x" * 20 * MB)
    raw = of(b"assistant", b'"message":{"content":[%s]}' % call)
    async with linked(large_lines) as (link, bridge):
        with loop_steps() as steps:
            reader, found = await turn_with(link, bridge, message_line(raw), nursery)
    frames = [frame for batch in found for frame in batch.frames]
    assert ["tool_use", "message"] == [frame.event for frame in frames]
    assert raw == bytes(frames[-1].data)
    assert [1] == [entry.events for batch in found for entry in batch.entries]
    assert reader.fault is None
    assert steps.longest < LONGEST_STEP, steps.task


async def test_line_that_is_too_long_is_left_out_and_said(large_lines, nursery):
    """It is not kept either: no more than the limit is in memory."""
    data = message_line(of(b"assistant", b'"x":"%s"' % (b"x" * MAX_LINE)))
    async with linked(large_lines) as (link, bridge):
        reader, _ = await turn_with(link, bridge, data, nursery)
    assert f"The bridge sent too much: a line is longer than {MAX_LINE} bytes" == reader.fault


async def test_flood_of_small_messages_holds_nobody_up(large_lines, nursery):
    """Others get their turn between a hundred of them."""
    data = message_line(b'{"type":"assistant"}') * 20_000
    async with linked(large_lines) as (link, bridge):
        with loop_steps() as steps:
            _, found = await turn_with(link, bridge, data, nursery)
    assert 20_000 == sum(len(batch.entries) for batch in found)
    assert steps.longest < LONGEST_STEP, steps.task


async def test_large_output_of_a_command_holds_nobody_up(large_lines, nursery):
    """A command may print a million characters that are escapes in JSON."""
    async with linked(large_lines) as (link, bridge):

        async def answer():
            request = decode_command(bytes(await bridge.receive_some()).strip())
            whole = ExecResult(exit_code=0, stdout="\x01" * MB, stderr="", id=request.id)
            await bridge.send_all(encode(whole))

        nursery.start_soon(answer)
        with loop_steps() as steps:
            result = await link.exec(Exec(command="x"))
    assert ("\x01" * MB, 0) == (result.stdout, result.exit_code)
    assert steps.longest < LONGEST_STEP, steps.task


@pytest.mark.parametrize("event", [b"opened", b"log", b"own_turn", b"background", b"x"])
async def test_large_event_that_is_no_message_is_left_out(large_lines, nursery, event):
    """No other event of a bridge is large."""
    data = b'{"ev":"%s","x":"%s"}\n' % (event, b"x" * (LARGE + 1))
    async with linked(large_lines) as (link, bridge):
        reader, _ = await turn_with(link, bridge, data, nursery)
    assert reader.fault is not None


async def test_reader_that_dies_is_started_anew(large_lines, nursery):
    """The message that was being read is left out, and the next one is read."""
    line = memoryview(message_line(of(b"assistant", b'"x":"%s"' % (b"x" * LARGE))).rstrip())
    assert isinstance(await large_lines.read(line), LargeMessage)
    os.kill(large_lines.statistics().pid, signal.SIGKILL)
    answers = [await large_lines.read(line) for _ in range(2)]
    assert isinstance(answers[-1], LargeMessage)
    assert 2 == large_lines.statistics().started


async def test_cancelled_read_leaves_the_next_one_whole(large_lines):
    """No half line is left in the pipe of the process."""
    line = message_line(of(b"assistant", b'"x":"%s"' % (b"x" * MB))).rstrip()
    with trio.CancelScope() as scope:
        scope.cancel()
        await large_lines.read(memoryview(line))
    answer = await large_lines.read(memoryview(line))
    assert not isinstance(answer, Failed)
    assert msgspec.json.decode(answer.data)["type"] == "assistant"
