"""A conversation with a CLI that an SDK has started; both SDK engines use it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

import trio
from msgspec import Raw

from bridge.engine import Emit, EngineDied, EngineError, EngineGone, Launch, WriteLog
from bridge.mcp_watch import McpWatch, Tell
from bridge.raw_lines import RawLines, TurnLines

# How long we wait, after a write to the CLI has failed, for the reader to find out that it died.
_DEATH_SECONDS = 3.0


class SdkClient(Protocol):
    """The methods that we use of both SDKs' clients."""

    async def interrupt(self) -> None: ...

    async def set_model(self, model: str | None = None) -> None: ...


class CliConversation:
    """Sends one prompt at a time; the CLI's messages arrive in `lines`, not through the SDK.

    `write` is the SDK transport's method that writes to the CLI's stdin.
    """

    def __init__(
        self,
        client: SdkClient,
        lines: RawLines,
        write: Callable[[str], Awaitable[None]],
        launch: Launch,
        mcp: McpWatch,
    ) -> None:
        self._client = client
        self._mcp = mcp
        self._lines = lines
        self._write = write
        self._launch = launch
        self._standing_model = self._model = launch.model

    @property
    def session_id(self) -> str:
        return self._lines.session_id or self._launch.session_id

    async def turn(self, prompt: Raw, model: str | None, emit: Emit) -> None:
        if self._lines.exit_reason:
            raise EngineGone(self._lines.exit_reason)
        try:
            turn = await self._lines.begin(emit)
            await self._use_model(model or self._standing_model)
            async with self._mcp.during(turn):
                await self._ask(prompt, turn)
                await turn.over.wait()
        finally:
            self._lines.finish()
        if self._lines.exit_reason:
            raise EngineDied(self._lines.exit_reason)
        if turn.fault:
            raise EngineError(turn.fault)

    def on_end(self, tell: WriteLog) -> None:
        self._lines.on_end = tell

    def on_mcp_status(self, tell: Tell) -> None:
        self._mcp.tell = tell

    async def interrupt(self) -> None:
        """Waits until the CLI has taken the prompt, because it forgets an earlier interrupt."""
        turn = self._lines.turn
        if turn is None:
            return
        if not turn.prompt_sent:
            await self._tell_to_stop()
        await turn.begun.wait()
        if not turn.over.is_set():
            await self._tell_to_stop()

    async def _ask(self, prompt: Raw, turn: TurnLines) -> None:
        """Sends the prompt's JSON unchanged; the SDK's own `query` would parse and re-escape it."""
        message = _user_message(prompt)
        turn.prompt_sent = True
        try:
            await self._write(message)
        except Exception as error:
            with trio.move_on_after(_DEATH_SECONDS):
                await turn.over.wait()
            raise EngineDied(
                self._lines.exit_reason or f"The engine takes no prompt: {error}"
            ) from error

    async def _use_model(self, model: str | None) -> None:
        if model == self._model:
            return
        try:
            await self._client.set_model(model)
        except Exception as error:
            raise self._failure(f"The model {model!r} can't be used: {error}") from error
        self._model = model

    async def _tell_to_stop(self) -> None:
        try:
            await self._client.interrupt()
        except Exception as error:
            raise self._failure(f"The engine can't be interrupted: {error}") from error

    def _failure(self, why: str) -> EngineError:
        """The error to raise after an SDK's call has failed: that the CLI died, if it did."""
        return EngineDied(self._lines.exit_reason) if self._lines.exit_reason else EngineError(why)


def _user_message(content: Raw) -> str:
    head = '{"type":"user","parent_tool_use_id":null,"session_id":"default","message":'
    try:
        return f'{head}{{"role":"user","content":{bytes(content).decode()}}}}}\n'
    except UnicodeDecodeError as error:
        raise EngineError(f"The prompt is not UTF-8: {error}") from error
