"""The engine `claude-agent`: runs the Claude CLI through claude-agent-sdk, which brings the CLI."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import anyio
import trio
from claude_agent_sdk import AgentDefinition, ClaudeAgentOptions, ClaudeSDKClient
from claude_agent_sdk._internal.transport import subprocess_cli
from claude_agent_sdk._internal.transport.subprocess_cli import SubprocessCLITransport

from bridge import cli_settings
from bridge.cli_conversation import CliConversation
from bridge.cli_process import CliLog, end, read_control_messages
from bridge.cli_start import open_cli
from bridge.engine import Conversation, EngineDied, EngineError, Launch, WriteLog
from bridge.launch_files import LaunchFiles, write_files
from bridge.mcp_watch import McpWatch
from bridge.raw_lines import RawLines

# The SDK logs an error when the CLI ends. The bridge reports that itself, with the reason.
logging.getLogger("claude_agent_sdk").setLevel(logging.CRITICAL)


class _Anyio:
    """What the SDK's transport takes for `anyio`: the CLI is started our way."""

    open_process = staticmethod(open_cli)

    def __getattr__(self, name: str) -> Any:
        return getattr(anyio, name)


setattr(subprocess_cli, "anyio", _Anyio())  # noqa: B010 - mypy would want a module


class ClaudeAgent:
    """Runs one CLI process for each conversation and keeps it from turn to turn."""

    @asynccontextmanager
    async def open(
        self, launch: Launch, *, resume: bool, write_log: WriteLog
    ) -> AsyncIterator[Conversation]:
        with TemporaryDirectory(prefix="ash-") as folder:
            lines, log = RawLines(write_log), CliLog(write_log)
            write = partial(write_files, launch, Path(folder), write_log)
            files = await trio.to_thread.run_sync(write)
            options = _options(launch, files, resume=resume, log=log)
            transport = _Transport(options, lines, log)
            client = _Client(options, transport)
            try:
                await _connect(client, lines)
                mcp = McpWatch(client.get_mcp_status, write_log)
                yield CliConversation(client, lines, transport.write, launch, mcp)
            finally:
                await client.disconnect()


async def _connect(client: ClaudeSDKClient, lines: RawLines) -> None:
    try:
        await client.connect()
    except Exception as error:
        if lines.exit_reason:
            raise EngineDied(lines.exit_reason) from error
        raise EngineError(f"The engine does not start: {error}") from error


class _Client(ClaudeSDKClient):
    async def withdraw(self, uuid: str) -> bool:
        query = self._query
        assert query is not None
        request = {"subtype": "cancel_async_message", "message_uuid": uuid}
        answer = await query._send_control_request(request)  # noqa: SLF001 - no other way in
        return answer.get("cancelled") is True


class _Transport(SubprocessCLITransport):
    """Starts the CLI and writes to it as the SDK does; only control messages reach the SDK."""

    def __init__(self, options: ClaudeAgentOptions, lines: RawLines, log: CliLog) -> None:
        super().__init__(prompt="", options=options)
        self._lines = lines
        self._log = log

    def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        return read_control_messages(self._process, self._lines, self._log)

    async def close(self) -> None:
        await end(self._process, self._lines, super().close)

    async def _handle_stderr(self) -> None:
        try:
            await super()._handle_stderr()
        finally:
            self._log.ended.set()


def _options(
    launch: Launch, files: LaunchFiles, *, resume: bool, log: CliLog
) -> ClaudeAgentOptions:
    schema = cli_settings.output_schema(launch)
    return ClaudeAgentOptions(
        cli_path=cli_settings.cli_path(),
        env=cli_settings.environment(launch, files.folder),
        stderr=log.add,
        include_partial_messages=True,
        setting_sources=list(cli_settings.SETTING_SOURCES),
        settings=str(files.settings),
        session_id=None if resume else launch.session_id,
        resume=launch.session_id if resume else None,
        model=launch.model,
        # None would mean an empty prompt; the preset is the CLI's own.
        system_prompt=(
            {"type": "file", "path": str(files.system_prompt)}
            if files.system_prompt
            else {"type": "preset", "preset": "claude_code"}
        ),
        mcp_servers=files.mcp_servers or {},
        permission_mode=cast("Any", cli_settings.permission_flag(launch)),
        allowed_tools=launch.allowed_tools or [],
        disallowed_tools=launch.disallowed_tools or [],
        agents={name: _agent(name, a) for name, a in cli_settings.subagents(launch).items()},
        max_turns=launch.max_turns,
        max_budget_usd=launch.max_budget_usd,
        effort=cast("Any", launch.effort),
        thinking=cast("Any", cli_settings.thinking(launch)),
        output_format={"type": "json_schema", "schema": schema} if schema else None,
        extra_args=cli_settings.extra_flags(launch, own_prompt=files.system_prompt is not None),
    )


_AGENT_FIELDS = {field.name for field in fields(AgentDefinition)}


def _agent(name: str, definition: dict[str, Any]) -> AgentDefinition:
    if unknown := definition.keys() - _AGENT_FIELDS:
        raise EngineError(f'The subagent "{name}" has unknown fields: {", ".join(sorted(unknown))}')
    return AgentDefinition(**definition)
