"""The engine `claude-code`: runs the Claude CLI through claude-code-sdk, the SDK's old name.

The SDK opens a nursery in `connect` and closes it in `disconnect`. So one task must call both, and
a cancel scope must contain either both or neither.
"""

import json
import logging
import os
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
import trio
from anyio.streams.text import TextSendStream
from claude_code_sdk import ClaudeCodeOptions, ClaudeSDKClient
from claude_code_sdk._internal.query import Query
from claude_code_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from ash.protocol import Lines
from bridge import cli_settings
from bridge.cli_conversation import CliConversation
from bridge.cli_process import CliLog, end, read_control_messages
from bridge.cli_start import open_cli
from bridge.engine import Conversation, EngineDied, EngineError, Launch, WriteLog
from bridge.launch_files import LaunchFiles, write_files
from bridge.mcp_watch import McpWatch
from bridge.raw_lines import RawLines

# The SDK logs an error when the CLI ends. The bridge reports that itself, with the reason.
logging.getLogger("claude_code_sdk").setLevel(logging.CRITICAL)


class ClaudeCode:
    """Runs one CLI process for each conversation and keeps it from turn to turn."""

    @asynccontextmanager
    async def open(
        self, launch: Launch, *, resume: bool, write_log: WriteLog
    ) -> AsyncIterator[Conversation]:
        _refuse(launch)
        with TemporaryDirectory(prefix="ash-") as folder:
            lines, log = RawLines(write_log), CliLog(write_log)
            write = partial(write_files, launch, Path(folder), write_log)
            files = await trio.to_thread.run_sync(write)
            options = _options(launch, files, resume=resume, folder=Path(folder))
            transport = _Transport(options, lines, log)
            client = _Client(options, transport)
            try:
                await _connect(client, lines)
                mcp = McpWatch(client.get_mcp_status, write_log)
                yield CliConversation(client, lines, transport.write, launch, mcp)
            finally:
                await client.disconnect()
                await transport.close()


async def _connect(client: ClaudeSDKClient, lines: RawLines) -> None:
    try:
        await client.connect()
    except Exception as error:
        if lines.exit_reason:
            raise EngineDied(lines.exit_reason) from error
        raise EngineError(f"The engine does not start: {error}") from error


class _Client(ClaudeSDKClient):
    """The SDK's client, connected through a transport of ours; its constructor takes none."""

    def __init__(self, options: ClaudeCodeOptions, transport: "_Transport") -> None:
        super().__init__(options)
        self._own_transport = transport

    async def connect(self, prompt: str | AsyncIterable[dict[str, Any]] | None = None) -> None:
        assert prompt is None
        self._transport = transport = self._own_transport
        await transport.connect()
        self._query = query = _Query(transport, is_streaming_mode=True)
        await query.start()
        assert query._tg is not None  # noqa: SLF001 - the SDK has no other way in
        query._tg.start_soon(transport.read_stderr)  # noqa: SLF001 - as above
        await query.initialize()

    async def interrupt(self) -> None:
        await self._control({"subtype": "interrupt"})

    async def set_model(self, model: str | None = None) -> None:
        await self._control({"subtype": "set_model", "model": model})

    async def get_mcp_status(self) -> dict[str, Any]:
        return await self._control({"subtype": "mcp_status"})

    async def withdraw(self, uuid: str) -> bool:
        request = {"subtype": "cancel_async_message", "message_uuid": uuid}
        return (await self._control(request)).get("cancelled") is True

    async def _control(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._query is not None
        send = self._query._send_control_request  # noqa: SLF001 - as above
        answer: dict[str, Any] = await send(request)
        return answer


class _Query(Query):
    async def _read_messages(self) -> None:
        """Fails the requests that a dead CLI will never answer; the SDK lets them time out."""
        await super()._read_messages()
        for request, answered in self.pending_control_responses.items():
            self.pending_control_results.setdefault(request, EngineDied("The engine died"))
            answered.set()


class _Transport(SubprocessCLITransport):
    """Starts the CLI by the SDK's command line; only control messages reach the SDK."""

    def __init__(self, options: ClaudeCodeOptions, lines: RawLines, log: CliLog) -> None:
        # Any prompt that is not a string tells the SDK that prompts come later; it is not read.
        super().__init__(cast("Any", None), options, cli_settings.cli_path())
        self._lines = lines
        self._log = log
        self._writing = anyio.Lock()

    async def connect(self) -> None:
        """Starts the CLI as the SDK does, but over sockets, and with one for stderr."""
        env = {**os.environ, **self._options.env, "CLAUDE_CODE_ENTRYPOINT": "sdk-py"}
        command = self._build_command()
        self._process = await open_cli(command, env=env)
        assert self._process.stdin is not None
        self._stdin_stream = TextSendStream(self._process.stdin)
        self._ready = True

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        return read_control_messages(self._process, self._lines, self._log)

    async def read_stderr(self) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        lines = Lines()
        try:
            with suppress(anyio.ClosedResourceError):
                async for chunk in self._process.stderr:
                    for line in lines.feed(chunk):
                        self._log.add(bytes(line).decode(errors="replace"))
        finally:
            self._log.ended.set()

    async def write(self, data: str) -> None:
        """Takes a lock, because prompts and interrupts are written by different tasks."""
        async with self._writing:
            await super().write(data)

    async def close(self) -> None:
        await end(self._process, self._lines, super().close)


def _refuse(launch: Launch) -> None:
    asked = {
        "maxBudgetUsd": launch.max_budget_usd,
        "outputFormat": launch.output_format,
    }
    for name, value in asked.items():
        if value is not None:
            raise EngineError(f"The engine claude-code can't do {name}: use claude-agent for it")


def _options(
    launch: Launch, files: LaunchFiles, *, resume: bool, folder: Path
) -> ClaudeCodeOptions:
    flags = {
        **cli_settings.extra_flags(launch, own_prompt=files.system_prompt is not None),
        **_thinking(launch),
        "setting-sources": ",".join(cli_settings.SETTING_SOURCES),
    }
    if not resume:
        flags["session-id"] = launch.session_id
    if files.system_prompt is not None:
        flags["system-prompt-file"] = str(files.system_prompt)
    if launch.effort is not None:
        flags["effort"] = launch.effort
    if agents := cli_settings.subagents(launch):
        file = folder / "agents.json"
        file.write_text(json.dumps(agents))
        flags["agents"] = str(file)
    return ClaudeCodeOptions(
        env=cli_settings.environment(launch, files.folder),
        settings=str(files.settings),
        include_partial_messages=True,
        resume=launch.session_id if resume else None,
        model=launch.model,
        mcp_servers=files.mcp_servers or {},
        permission_mode=cast("Any", cli_settings.permission_flag(launch)),
        allowed_tools=launch.allowed_tools or [],
        disallowed_tools=launch.disallowed_tools or [],
        max_turns=launch.max_turns,
        extra_args=flags,
    )


def _thinking(launch: Launch) -> dict[str, str | None]:
    asked = cli_settings.thinking(launch)
    if asked is None:
        return {}
    if asked["type"] == "enabled":
        return {"max-thinking-tokens": str(asked["budget_tokens"])}
    return {"thinking": asked["type"]}
