import os
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ash import config
from ash.config import Settings
from ash.embedded.agents import AgentCalls
from ash.embedded.inside import InsideCalls
from ash.embedded.opening import opened
from ash.embedded.root import Root
from ash.embedded.sessions import SessionCalls
from ash.embedded.streams import StreamCalls
from ash.errors import StartError


class Ash(AgentCalls, SessionCalls, StreamCalls, InsideCalls):
    """What `ashd` does, below the script: `async with Ash(data_dir="data") as ash:`.

    Leaving the block ends turns as `shutdown`, pauses their sessions and ends every sandbox;
    that takes `grace_seconds` and 5 s more at most, also when the script is cancelled. Whoever
    opens the data directory next, ashd too, can resume the sessions. Every failure is an
    AshError.
    """

    def __init__(self, **settings: Any) -> None:
        """Takes the settings of docs/configuration.md by name, and nothing from outside.

        Raises ConfigError.
        """
        self._settings = config.load(None, {}, settings, given_by="Ash()")
        self._held = AsyncExitStack()

    @classmethod
    def from_environment(cls, config_file: str | Path | None = None, **settings: Any) -> Self:
        """With settings as ashd finds them: file, over it the environment, over it those given.

        The file is ASH_CONFIG's or `ash.toml` if none is named. Raises ConfigError.
        """
        found = cls()
        file = config.find_toml(Path(config_file) if config_file else None, os.environ, Path())
        found._settings = config.load(file, os.environ, settings, given_by="Ash()")
        return found

    @property
    def settings(self) -> Settings:
        return self._settings

    async def __aenter__(self) -> Self:
        """Raises StartError."""
        if self._opened is not None:
            raise StartError("This Ash is open already")
        core = await self._held.enter_async_context(opened(self._settings, self._end_calls))
        self._opened = Root(core)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._held.__aexit__(kind, error, trace)
        finally:
            self._opened = None

    def _end_calls(self) -> None:
        if self._opened is not None:
            self._opened.end()
