"""Tells how the conversation's MCP servers are: at once, and when that changes.

The CLI holds its first turn until its servers have answered, up to 30 seconds, and writes nothing
meanwhile. It does answer the control request `mcp_status`. Its own message `init` says the same,
without the errors, so servers that are all well need no request.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import trio
from msgspec import structs

from ash.protocol import McpServerState
from bridge.engine import EngineBusy, WriteLog
from bridge.mcp_logs import McpLogs
from bridge.turn_lines import TurnLines

Tell = Callable[[list[McpServerState]], None]

# A turn of a conversation whose servers are well has begun by then.
_FIRST_LOOK_SECONDS = 0.5
_NEXT_LOOK_SECONDS = 1.0


class McpWatch:
    """`ask` sends the control request; `tell` is called with all servers when one has changed."""

    def __init__(self, ask: Callable[[], Awaitable[Any]], write_log: WriteLog) -> None:
        self.tell: Tell | None = None
        self._ask = ask
        self._logs = McpLogs(write_log)
        self._known: list[McpServerState] = []

    @asynccontextmanager
    async def during(self, turn: TurnLines) -> AsyncIterator[None]:
        """Watches while the block runs, and raises what the block raises."""
        failure: Exception | None = None
        known = self._known
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, turn)
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised below, out of the nursery's group
                failure = error
            nursery.cancel_scope.cancel()
        if isinstance(failure, EngineBusy):
            # The daemon shows nothing of a turn that was refused.
            self._known = known
        if failure is not None:
            raise failure

    async def _watch(self, turn: TurnLines) -> None:
        with trio.move_on_after(_FIRST_LOOK_SECONDS):
            await turn.begun.wait()
        # What can't be read is not told: the CLI may die, or write it in another way.
        with suppress(Exception):
            if turn.mcp_servers is not None:
                servers = _servers(turn.mcp_servers)
                self._report(_with_errors(servers, self._known))
                if all(server.status == "connected" for server in servers):
                    return
            await self._look(turn)

    async def _look(self, turn: TurnLines) -> None:
        """Asks until the turn has begun and no server is pending."""
        while not turn.over.is_set():
            servers = _servers((await self._ask())["mcpServers"])
            self._report(servers)
            await self._logs.pass_on()
            # The CLI writes these files a moment after it has seen the fault.
            with trio.move_on_after(_NEXT_LOOK_SECONDS):
                await turn.over.wait()
            if turn.begun.is_set() and not any(s.status == "pending" for s in servers):
                await self._logs.pass_on()
                return

    def _report(self, servers: list[McpServerState]) -> None:
        if servers != self._known and self.tell is not None:
            self._known = servers
            self.tell(servers)


def _servers(given: Any) -> list[McpServerState]:
    """Only what clients are told: the CLI's answer has the servers' environment and headers."""
    return msgspec.convert(given, list[McpServerState])


def _with_errors(
    servers: list[McpServerState], known: list[McpServerState]
) -> list[McpServerState]:
    """`init` names no errors: those of servers that are as before still hold."""
    errors = {(server.name, server.status): server.error for server in known}
    return [structs.replace(s, error=errors.get((s.name, s.status))) for s in servers]
