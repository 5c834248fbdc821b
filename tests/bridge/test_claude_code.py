"""What the engine claude-code adds to its SDK."""

import trio
from trio.testing import wait_all_tasks_blocked

from bridge.claude_code import ClaudeCodeOptions, _Transport
from bridge.cli_process import CliLog
from bridge.raw_lines import RawLines


class _Pipe:
    """A stdin that accepts one write at a time, slowly."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self._busy = False

    async def send(self, data: str) -> None:
        assert not self._busy
        self._busy = True
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        self._busy = False
        self.sent.append(data)


async def test_prompt_and_interrupt_do_not_mix() -> None:
    """Lines that two tasks write to the CLI at the same time stay whole."""
    transport = _Transport(ClaudeCodeOptions(), RawLines(print), CliLog(print))
    transport._stdin_stream = pipe = _Pipe()
    transport._ready = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(transport.write, "prompt")
        nursery.start_soon(transport.write, "interrupt")
    assert {"prompt", "interrupt"} == set(pipe.sent)
