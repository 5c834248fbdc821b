"""Fixtures: the real CLI on a stub model, controlled as an SDK does it."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import claude_agent_sdk
import msgspec
import pytest
import trio

from ash.protocol import Lines
from ash.testing import StubModel

_CLI = Path(claude_agent_sdk.__file__).parent / "_bundled" / "claude"
_QUIET = (
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC",
    "DISABLE_TELEMETRY",
    "DISABLE_ERROR_REPORTING",
    "DISABLE_AUTOUPDATER",
    "DISABLE_BUG_COMMAND",
    "IS_SANDBOX",
)

Interrupt = Callable[[dict[str, Any]], bool]


class Cli:
    """An initialized CLI; runs one turn at a time."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._lines = self._messages()

    async def send(self, **message: Any) -> None:
        await self._process.stdin.send_all(msgspec.json.encode(message) + b"\n")

    async def control(self, subtype: str) -> None:
        request = {"subtype": subtype}
        await self.send(type="control_request", request_id=subtype, request=request)

    async def turn(self, text: str, interrupt_at: Interrupt | None = None) -> list[dict[str, Any]]:
        """The messages up to the result, or up to the CLI's death."""
        await self.send(type="user", message={"role": "user", "content": text})
        messages: list[dict[str, Any]] = []
        async for message in self._lines:
            if message["type"] == "control_response":
                continue
            messages.append(message)
            if interrupt_at and interrupt_at(message):
                await self.control("interrupt")
            if message["type"] == "result":
                break
        return messages

    async def answer(self) -> None:
        """Waits for the answer to a control request."""
        async for message in self._lines:
            if message["type"] == "control_response":
                return

    async def wait(self) -> int:
        """The exit code of the CLI, once it has ended."""
        return await self._process.wait()

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        lines = Lines()
        async for chunk in self._process.stdout:
            for line in lines.feed(bytes(chunk)):
                yield msgspec.json.decode(line)


@asynccontextmanager
async def _open_cli(home: Path, cwd: Path, model: StubModel, *flags: str) -> AsyncIterator[Cli]:
    env = dict.fromkeys(_QUIET, "1")
    env |= {"HOME": str(home), "PATH": os.environ["PATH"], "ANTHROPIC_API_KEY": "not-a-key"}
    env |= {"ANTHROPIC_BASE_URL": model.url, "CLAUDE_CODE_ENTRYPOINT": "sdk-py"}
    command = [
        *(str(_CLI), "--verbose", "--include-partial-messages", "--system-prompt", ""),
        *("--output-format", "stream-json", "--input-format", "stream-json"),
        *("--permission-mode", "bypassPermissions", "--setting-sources=", *flags),
    ]
    start = partial(trio.run_process, command, cwd=cwd, env=env, stdin=PIPE, stdout=PIPE)
    async with trio.open_nursery() as nursery:
        process = await nursery.start(partial(start, check=False))
        cli = Cli(process)
        await cli.control("initialize")
        await cli.answer()
        yield cli
        await process.stdin.aclose()
        with trio.move_on_after(5):
            await process.wait()
        nursery.cancel_scope.cancel()


@pytest.fixture
def open_cli(tmp_path: Path) -> Callable[..., Any]:
    """`open_cli(model, *flags)`: a context with a CLI in a workspace and HOME of its own."""
    home, cwd = tmp_path / "home", tmp_path / "workspace"
    home.mkdir()
    cwd.mkdir()
    return partial(_open_cli, home, cwd)
