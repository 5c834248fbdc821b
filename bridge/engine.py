"""The interface that every engine implements, and the errors it raises."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Raw, structs

from ash.protocol import Branch, McpServerState, Open, Query, Resume
from ash.session_options import AT_CREATE, OPTIONS, EngineOptions

Emit = Callable[[bytes | memoryview], Awaitable[None]]
WriteLog = Callable[[str], None]


class EngineError(Exception):
    """A turn failed, or a conversation did not open; it may be opened again."""


class EngineBusy(EngineError):
    """The engine has begun a turn by itself, so it did not take the prompt."""


class EngineDied(EngineError):
    """The engine's process has ended."""


class EngineGone(EngineDied):
    """The engine's process had ended before the turn began; a new one may try the turn again."""


class Launch(EngineOptions, kw_only=True):
    """Everything that an engine is started with. When any of it changes, it is started anew.

    The options of a turn are here because the CLI takes them as flags. `session_id` is the
    conversation's; `last`, `began` and `fork` are explained in `ash.protocol.Resume`.
    """

    session_id: str
    last: str | None = None
    began: bool = False
    preset: bool = False
    fork: list[Branch] | None = None


def opened_with(command: Open | Resume) -> Launch:
    """The launch that an `open` or a `resume` asks for."""
    fields = {name: getattr(command, name) for name in EngineOptions.__struct_fields__}
    if isinstance(command, Open):
        return Launch(session_id=command.session_id, preset=command.preset, **fields)
    return Launch(
        session_id=command.conversation or command.session_id,
        preset=command.preset,
        last=command.last,
        began=command.began,
        fork=command.fork,
        **fields,
    )


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
    """A booted engine. Only the task that opened it runs turns, one at a time.

    `session_id` is the conversation's id, which `/clear` changes.
    """

    @property
    def session_id(self) -> str: ...

    async def turn(
        self,
        prompt: Raw,
        model: str | None,
        emit: Emit,
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Runs one prompt and emits its raw messages in order, up to its `result`.

        `model` is for this turn alone; None means the launch's model. `taken` is called before
        the first message. With it, EngineBusy is raised if the engine has begun a turn by itself;
        the prompt then has no effect. Raises EngineError, or EngineDied if the conversation can
        run no further turn.
        """

    async def own_turn(self, emit: Emit) -> None:
        """Emits the messages of a turn that the engine has begun by itself, up to its end.

        Raises EngineDied.
        """

    def on_own_work(self, own_turn: Callable[[], None], tasks: Callable[[list[str]], None]) -> None:
        """Calls `own_turn` for each turn that the engine begins by itself.

        Calls `tasks` with what runs in the background whenever that changes.
        """

    def on_end(self, tell: WriteLog) -> None:
        """Calls `tell` with the reason if the engine's process ends while no turn runs."""

    def on_mcp_status(self, tell: Callable[[list[McpServerState]], None]) -> None:
        """Calls `tell` during a turn: first with all MCP servers, then again if one changes."""

    async def interrupt(self) -> None:
        """Asks the running turn to end. Any task may call it, also when no turn runs."""


class Engine(Protocol):
    """Opens conversations. It has no state of its own."""

    def open(
        self, launch: Launch, *, resume: bool, write_log: WriteLog
    ) -> AbstractAsyncContextManager[Conversation]:
        """Boots the engine; leaving the context ends its processes, in bounded time.

        `resume` continues the conversation `launch.session_id` from disk, where it has to be;
        otherwise one begins under that id. `write_log` is
        called with lines for the session's log. Raises EngineError if the engine does not boot
        or can't do what `launch` asks.
        """
