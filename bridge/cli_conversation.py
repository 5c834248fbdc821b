"""A conversation with a CLI that an SDK has started; both SDK engines use it."""

from collections.abc import Awaitable, Callable
from typing import Protocol
from uuid import uuid4

import trio
from msgspec import Raw

from bridge.engine import (
    Emit,
    EngineBusy,
    EngineDied,
    EngineError,
    EngineGone,
    Launch,
    WriteLog,
)
from bridge.mcp_watch import McpWatch, Tell
from bridge.raw_lines import RawLines
from bridge.turn_lines import TurnLines

# How long we wait, after a write to the CLI has failed, for the reader to find out that it died.
_DEATH_SECONDS = 3.0
# How long the CLI may take to withdraw a prompt; it answers at once.
_WITHDRAW_SECONDS = 2.0


class SdkClient(Protocol):
    """The methods that we use of both SDKs' clients."""

    async def interrupt(self) -> None: ...

    async def set_model(self, model: str | None = None) -> None: ...

    async def withdraw(self, uuid: str) -> bool:
        """Takes back a prompt that the CLI has not begun; whether it could."""
        ...


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
        self._turn: TurnLines | None = None
        self._launch = launch
        self._standing_model = self._model = launch.model

    @property
    def session_id(self) -> str:
        return self._lines.session_id or self._launch.session_id

    async def turn(
        self,
        prompt: Raw,
        model: str | None,
        emit: Emit,
        taken: Callable[[], None] | None = None,
    ) -> None:
        if self._lines.exit_reason:
            raise EngineGone(self._lines.exit_reason)
        turn = self._turn = self._lines.begin(str(uuid4()), yields=taken is not None)
        try:
            if taken is None:
                await turn.claim(emit)
            await self._use_model(model or self._standing_model)
            async with self._mcp.during(turn):
                if taken is None:
                    await self._lines.idle()
                    await self._ask(prompt, turn)
                else:
                    await self._ask_yielding(prompt, turn)
                    taken()
                    await turn.claim(emit)
                await turn.over.wait()
        finally:
            self._finish(turn)
        if self._lines.exit_reason:
            raise EngineDied(self._lines.exit_reason)
        if turn.fault:
            raise EngineError(turn.fault)

    async def own_turn(self, emit: Emit) -> None:
        turn = self._turn = self._lines.begin_own()
        try:
            await turn.claim(emit)
            await turn.over.wait()
        finally:
            self._finish(turn)
        if self._lines.exit_reason:
            raise EngineDied(self._lines.exit_reason)

    def on_own_work(self, own_turn: Callable[[], None], tasks: Callable[[list[str]], None]) -> None:
        self._lines.on_own_turn = own_turn
        self._lines.on_tasks = tasks

    def on_end(self, tell: WriteLog) -> None:
        self._lines.on_end = tell

    def on_mcp_status(self, tell: Tell) -> None:
        self._mcp.tell = tell

    async def interrupt(self) -> None:
        """Waits until the CLI has taken the prompt, because it forgets an earlier interrupt."""
        turn = self._turn
        if turn is None:
            return
        if not turn.prompt_sent:
            await self._tell_to_stop()
        await turn.begun.wait()
        if not turn.over.is_set():
            await self._tell_to_stop()

    def _finish(self, turn: TurnLines) -> None:
        self._lines.finish(turn)
        self._turn = None

    async def _ask_yielding(self, prompt: Raw, turn: TurnLines) -> None:
        """Returns when the CLI has taken the prompt. Raises EngineBusy if it does not take it."""
        if not turn.overtaken:
            await self._ask(prompt, turn)
            await turn.decided.wait()
        if turn.overtaken and await self._withdraw(turn):
            turn.prompt_sent = False
            raise EngineBusy("The engine has begun a turn by itself")

    async def _withdraw(self, turn: TurnLines) -> bool:
        """Whether the CLI will not work on the prompt: it takes back one that is still queued."""
        if not turn.prompt_sent:
            return True
        try:
            with trio.fail_after(_WITHDRAW_SECONDS):
                return await self._client.withdraw(turn.uuid)
        except Exception as error:
            raise self._failure(f"The prompt can't be withdrawn: {error}") from error

    async def _ask(self, prompt: Raw, turn: TurnLines) -> None:
        """Sends the prompt's JSON unchanged; the SDK's own `query` would parse and re-escape it."""
        message = _user_message(prompt, turn.uuid)
        self._lines.send(turn)
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


def _user_message(content: Raw, uuid: str) -> str:
    """The prompt as the CLI reads it.

    Because of its priority the CLI does not put it into a turn that it has begun by itself.
    """
    head = f'{{"type":"user","uuid":"{uuid}","priority":"later","parent_tool_use_id":null'
    head += ',"session_id":"default","message":{"role":"user","content":'
    try:
        return f"{head}{bytes(content).decode()}}}}}\n"
    except UnicodeDecodeError as error:
        raise EngineError(f"The prompt is not UTF-8: {error}") from error
