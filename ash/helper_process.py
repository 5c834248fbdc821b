"""A process of the daemon that reads large inputs, so that the event loop need not.

Reading one may take seconds, and in a thread that would hold Python's interpreter lock. The process
is started when there is something to read, answers one request after the other, and is started anew
if it dies or takes too long.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from threading import Thread

import trio
from msgspec import Struct

# What the process may use of memory: several times the largest input.
MEMORY_BYTES = 1024 * 1024 * 1024

# How often the process looks whether its parent still lives.
PARENT_CHECK_SECONDS = 0.5

_PIECE = 64 * 1024
_LENGTH = 8


class HelperStatistics(Struct, frozen=True):
    """`started` is how many processes there were so far. One has `pid`."""

    started: int
    pid: int | None


class HelperProcess:
    """Runs `python -m module`, which calls `serve`. `timeout` is for each request, in seconds."""

    def __init__(self, module: str, timeout: float) -> None:
        # With -P, as for the bridge: a module in the current folder can't replace one of ours.
        self._argv: Sequence[str] = (sys.executable, "-P", "-m", module)
        self._timeout = timeout
        self._turn = trio.StrictFIFOLock()
        self._process: trio.Process | None = None
        self._started = 0

    def statistics(self) -> HelperStatistics:
        pid = None if self._process is None else self._process.pid
        return HelperStatistics(self._started, pid)

    async def ask(self, request: bytes | bytearray | memoryview) -> bytearray | None:
        """The answer; None if the process died of the request or took too long."""
        answer = None
        async with self._turn:
            try:
                with trio.move_on_after(self._timeout):
                    answer = await self._ask(request)
            except (OSError, trio.BrokenResourceError, trio.ClosedResourceError, EOFError):
                pass
            finally:
                if answer is None:
                    await self._end()
        return answer

    async def run(self) -> None:
        """Ends the process when it is cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            await self._end()

    async def _ask(self, request: bytes | bytearray | memoryview) -> bytearray:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = await self._start()
        assert process.stdin is not None
        await process.stdin.send_all(len(request).to_bytes(_LENGTH))
        # In pieces: a pipe whose reader is quick takes all of it in one step of the loop.
        with memoryview(request) as view:
            for start in range(0, len(view), _PIECE):
                await process.stdin.send_all(view[start : start + _PIECE])
        return await _receive(process, int.from_bytes(await _receive(process, _LENGTH)))

    async def _start(self) -> trio.Process:
        self._started += 1
        return await trio.lowlevel.open_process(
            [*self._argv, str(os.getpid())], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()


async def _receive(process: trio.Process, size: int) -> bytearray:
    """Raises EOFError if the process ends before."""
    assert process.stdout is not None
    data = bytearray()
    while len(data) < size:
        chunk = await process.stdout.receive_some(min(size - len(data), _PIECE))
        if not chunk:
            raise EOFError
        data += chunk
    return data


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answers the requests from stdin on stdout, each with its length in front.

    The process's argument is the id of its parent, with which it exits.
    """
    Thread(target=_exit_with_parent, args=[int(sys.argv[1])], daemon=True).start()
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while length := stdin.read(_LENGTH):
        answered = answer(stdin.read(int.from_bytes(length)))
        stdout.write(len(answered).to_bytes(_LENGTH))
        stdout.write(answered)
        stdout.flush()


def _exit_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)
