"""The seam between the bridge and what thinks inside it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Raw, structs

from ash.protocol import Branch, Open, Query, Resume
from ash.session_options import AT_CREATE, OPTIONS, EngineOptions

Emit = Callable[[bytes | memoryview], Awaitable[None]]
WriteLog = Callable[[str], None]


class EngineError(Exception):
    """The turn or the opening failed; the conversation may be opened again."""


class EngineDied(EngineError):
    """The engine's process is gone."""


class EngineGone(EngineDied):
    """It was gone before the turn began: the turn may be tried again with a new one."""


class Launch(EngineOptions, kw_only=True):
    """Everything that an engine is started with. When any of it changes, it is started anew.

    The options of a turn are here because the CLI takes them as flags.
    """

    session_id: str
    fork: list[Branch] | None = None


def opened_with(command: Open | Resume) -> Launch:
    """The launch that an `open` or a `resume` asks for."""
    fields = {name: getattr(command, name) for name in EngineOptions.__struct_fields__}
    fork = command.fork if isinstance(command, Resume) else None
    return Launch(session_id=command.session_id, fork=fork, **fields)


def wanted_by(query: Query, standing: Launch) -> Launch:
    """The launch that this turn needs: the standing one, changed by the query's options.

    Options that an engine can change while it runs are left out: they need no new launch.
    """
    changes = {
        name: value
        for name, option in OPTIONS.items()
        if option.fixed_at_spawn and option.at != AT_CREATE
        if (value := getattr(query, name)) is not None or not option.kept
    }
    return structs.replace(standing, **changes)


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
