"""The seam between the bridge and what thinks inside it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from msgspec import Raw, structs

from ash.protocol import Branch, EngineOptions, Open, Query, Resume

Emit = Callable[[bytes | memoryview], Awaitable[None]]
WriteLog = Callable[[str], None]


class EngineError(Exception):
    """The turn or the opening failed; the conversation may be opened again."""


class EngineDied(EngineError):
    """The engine's process is gone."""


class EngineGone(EngineDied):
    """It was gone before the turn began: the turn may be tried again with a new one."""


class Launch(EngineOptions, kw_only=True):
    """Everything an engine is started with: when any of it changes, it is started anew.

    The budgets are here because the CLI takes them as flags.
    """

    session_id: str
    fork: list[Branch] | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    effort: str | None = None
    thinking: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None


def opened_with(command: Open | Resume) -> Launch:
    """The launch that an `open` or a `resume` asks for."""
    fields = {name: getattr(command, name) for name in EngineOptions.__struct_fields__}
    fork = command.fork if isinstance(command, Resume) else None
    return Launch(session_id=command.session_id, fork=fork, **fields)


def wanted_by(query: Query, standing: Launch) -> Launch:
    """The launch that this turn needs: the standing one with what the query says.

    The model is left out, an engine can change it while it runs.
    """
    per_turn = ("max_turns", "max_budget_usd", "effort", "thinking", "output_format")
    lasting = ("allowed_tools", "disallowed_tools", "betas", "subagents", "initial_agent")
    said = {name: value for name in lasting if (value := getattr(query, name)) is not None}
    return structs.replace(standing, **{name: getattr(query, name) for name in per_turn}, **said)


class Conversation(Protocol):
    """A booted engine. `turn` is called by the task that opened it, one at a time."""

    async def turn(self, prompt: Raw, model: str | None, emit: Emit) -> None:
        """One prompt in, its raw messages out, in order, up to its `result`.

        `model` is for this turn alone; None means the one of the launch. Raises EngineError,
        or EngineDied if there will be no further turn.
        """

    def on_end(self, tell: WriteLog) -> None:
        """Calls `tell` with the reason if the engine's process ends while no turn runs."""

    async def interrupt(self) -> None:
        """Asks the running turn to end; called from any task. Safe when nothing runs."""


class Engine(Protocol):
    """Opens conversations. Stateless: all that lasts is in the conversation and on disk."""

    def open(
        self, launch: Launch, *, resume: bool, say: WriteLog
    ) -> AbstractAsyncContextManager[Conversation]:
        """Boots the engine; leaving the context ends its processes, in bounded time.

        `resume` goes on with the conversation `launch.session_id` as it is on disk; if there
        is none, because it ended before it was written, a new one begins under that id. `say`
        takes lines for the session's log. Raises EngineError if it does not boot or can't do
        what `launch` asks.
        """
