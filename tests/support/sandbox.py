"""The one stand-in for a sandbox's process: the real link, with the bridge's side in this process.

Above it runs the real `Sandbox`. tests/sandbox/test_conformance.py holds it against a real one.
"""

from contextlib import asynccontextmanager, suppress

import trio
from msgspec import Raw
from trio.testing import memory_stream_pair

from ash.descriptors import DescriptorPlan
from ash.egress import ModelFaults, Places
from ash.large_lines import LargeLines
from ash.protocol import (
    EngineExited,
    EngineMessage,
    Exec,
    ExecResult,
    Failed,
    Interrupt,
    Lines,
    Open,
    Opened,
    OwnTurn,
    PromptTaken,
    Query,
    Ready,
    Resume,
    Shutdown,
    TurnDone,
    decode_command,
    encode,
)
from ash.sandbox.link import Link
from ash.sandbox.sandbox_process import Runtime


class Upstream:
    """What the proxy says of the daemon's own credentials."""

    headers = ((b"x-api-key", b"the daemon's"),)
    custom = ()
    patience = 0.0


RUNTIME = Runtime(
    spawner=None,
    isolation=None,
    groups=None,
    disk=None,
    large_lines=None,
    engine="fake",
    upstream=Upstream(),
    environment={},
    descriptors=DescriptorPlan(clients=16, proxied=16),
    places=Places(16),
)


class FakeSandboxProcess:
    """As `SandboxProcess`. Without an `agent` the test says all that the bridge says.

    `commands` are those that the bridge has read. While it is `stuck` it takes none.
    """

    def __init__(self, agent=None):
        ours, self._theirs = memory_stream_pair()
        self.large_lines = LargeLines()
        self.link = Link(ours, self.large_lines)
        self.died = self.link.closed
        self.faults = ModelFaults(0)
        self.faults.tell = self.link.tell
        self.agent = agent
        self.commands = []
        self.killed = False
        self.stuck = False
        self.limit_report = None
        self._heard = trio.lowlevel.ParkingLot()
        self._saying = trio.StrictFIFOLock()

    async def serve(self, nursery):
        self.nursery = nursery
        nursery.start_soon(self.link.run)
        nursery.start_soon(self._read)

    async def _read(self):
        lines = Lines()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with trio.open_nursery() as nursery:
                if self.agent is not None:
                    nursery.start_soon(self.agent.start, self)
                while chunk := await self._theirs.receive_some(65536):
                    for line in lines.feed(bytes(chunk)):
                        command = decode_command(line)
                        self.commands.append(command)
                        self._heard.unpark_all()
                        if self.agent is not None:
                            nursery.start_soon(self.agent.answer, self, command)
                nursery.cancel_scope.cancel()

    async def heard(self, kind):
        """Waits until the bridge has read such a command."""
        while not any(isinstance(command, kind) for command in self.commands):
            await self._heard.park()

    async def say(self, *events):
        """Together: they come in as one batch."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with self._saying:
                await self._theirs.send_all(b"".join(map(encode, events)))

    async def say_result(self, subtype="success", result=""):
        message = b'{"type":"result","subtype":"%b","result":"%b"}'
        raw = Raw(message % (subtype.encode(), result.encode()))
        await self.say(EngineMessage(raw), TurnDone("the session"))

    async def begin_own_turn(self, turn_id="own-1"):
        await self.say(OwnTurn("the session", id=turn_id))

    async def end_own_turn(self, turn_id="own-1", subtype="success"):
        message = b'{"type":"result","subtype":"%b","result":"mine"}' % subtype.encode()
        await self.say(EngineMessage(Raw(message)), TurnDone("the session", id=turn_id))

    async def lose_engine(self, why="The engine died (SIGKILL)"):
        await self.say(EngineExited(why))

    def die(self):
        """The bridge's end of the socket is closed, as when its process is killed by another."""
        self._theirs.send_stream.close()

    @property
    def dying(self):
        return self.killed or self.died.is_set()

    async def send(self, command):
        if self.stuck:
            await trio.sleep_forever()
        await self.link.send(command)

    def kill(self):
        self.killed = True
        self.die()

    def take_limit_report(self):
        report, self.limit_report = self.limit_report, None
        return report

    async def exit_reason(self):
        return self.take_limit_report() or "The agent's process ended (signal 9)"


class FakeAgent:
    """Answers what the scripted engine would, as far as sessions and the pool can tell.

    `results` are what shell commands come to: exit code, stdout, stderr, whether it took too
    long. A prompt that begins with `SLOW` runs until it is interrupted.
    """

    def __init__(self):
        self.results = {}
        self.refusal = ""
        self.silent = False
        self.gate, self.turns = trio.Event(), trio.Event()
        self.gate.set()
        self.turns.set()
        self.interrupted = trio.Event()
        self.in_turn = False

    async def start(self, process):
        if not self.silent:
            await process.say(Ready())

    async def answer(self, process, command):
        match command:
            case Open() | Resume():
                await self.open_engine(process, command)
            case Exec():
                await self.run_command(process, command)
            case Query():
                self.in_turn = True
                if command.yields:
                    await process.say(PromptTaken(id=command.id))
                await self.take_turn(process, command)
                self.in_turn = False
            case Interrupt():
                self.interrupted.set()
            case Shutdown():
                if self.in_turn:
                    await process.say(Failed("The engine was ended"), TurnDone("the session"))
                process.die()

    async def open_engine(self, process, command):
        await self.gate.wait()
        refusal = self.refusal
        await process.say(Failed(refusal, command.id) if refusal else Opened(command.id))

    async def run_command(self, process, command):
        code, out, err, late = self.results.get(command.command, (0, "", "", False))
        result = ExecResult(exit_code=code, stdout=out, stderr=err, timed_out=late)
        result.id = command.id
        await process.say(result)

    async def take_turn(self, process, command):
        self.interrupted = trio.Event()
        if bytes(command.prompt).startswith(b'"SLOW'):
            await self.interrupted.wait()
            await process.say_result("error_during_execution")
        else:
            await self.turns.wait()
            await process.say_result(result="ok")


@asynccontextmanager
async def serving(process):
    """The process until the block is left, as `open_sandbox_process` has it."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(process.large_lines.run)
        await process.serve(nursery)
        yield process
        nursery.cancel_scope.cancel()
