"""Runs shell commands in the workspace, independent of turns."""

import os
import signal
from contextlib import suppress
from functools import partial
from subprocess import DEVNULL, PIPE

import trio

from ash.protocol import Exec, ExecResult
from bridge.children import CHILDREN

# At most this many bytes are kept of each stream; the rest is read and dropped.
MAX_OUTPUT = 1024 * 1024
# The exit code of coreutils' `timeout`.
TIMED_OUT = 124

_CHUNK = 64 * 1024


async def run_shell(command: Exec) -> ExecResult:
    """Runs `/bin/bash -c` in the workspace, in a process group of its own.

    Returns when the shell has ended. Processes that the shell left in the background go on and
    are not waited for, even if they hold the output open. Raises OSError or ValueError if the
    command can't be started.
    """
    argv = ["/bin/bash", "-c", command.command]
    options = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, "start_new_session": True}
    process = await CHILDREN.start(partial(trio.lowlevel.open_process, argv, **options))
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = _Capture(process.stdout), _Capture(process.stderr)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(out.read)
            nursery.start_soon(err.read)
            with trio.move_on_after(max(command.timeout, 0) / 1000):
                await process.wait()
            timed_out = process.returncode is None
            await _end(process)
            nursery.cancel_scope.cancel()
    finally:
        await _end(process)
        out.close()
        err.close()
    return ExecResult(
        exit_code=TIMED_OUT if timed_out else _exit_code(process),
        stdout=out.text(),
        stderr=err.text(),
        id=command.id,
        timed_out=timed_out,
        truncated=out.truncated or err.truncated,
    )


async def _end(process: trio.Process) -> None:
    """Kills the whole group if the shell is still there."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await process.wait()


def _exit_code(process: trio.Process) -> int:
    """The exit code as a shell reports it: for a signal, 128 plus its number."""
    code = process.returncode
    assert code is not None
    return code if code >= 0 else 128 - code


class _Capture:
    """Reads a pipe and keeps the beginning of its output."""

    def __init__(self, pipe: trio.abc.ReceiveStream) -> None:
        assert isinstance(pipe, trio.lowlevel.FdStream)
        self._pipe = pipe
        self._data = bytearray()
        self.truncated = False

    async def read(self) -> None:
        async for chunk in self._pipe:
            self._keep(chunk)

    def text(self) -> str:
        return self._data.decode(errors="replace")

    def close(self) -> None:
        """Takes what is still in the pipe without waiting for more, and closes it."""
        with suppress(BlockingIOError):
            while not self.truncated and (chunk := os.read(self._pipe.fileno(), _CHUNK)):
                self._keep(chunk)
        self._pipe.close()

    def _keep(self, chunk: bytes | bytearray) -> None:
        room = MAX_OUTPUT - len(self._data)
        self._data += chunk[:room]
        self.truncated = self.truncated or len(chunk) > room
