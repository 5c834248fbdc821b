import os
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from ash import config
from ash.client.api import Api, Awaiting
from ash.client.reconnecting import StreamRequest
from ash.client.request import Request
from ash.config import Settings
from ash.config_sources import load_to_start
from ash.embedded.opening import OpenCore, open_below_script
from ash.embedded.streams import EmbeddedEventStream
from ash.embedded.transport import respond
from ash.errors import AshError, StartError

T = TypeVar("T")


class Ash(Api, Awaiting):
    """What `ashd` does, below the script: `async with Ash(data_dir="data") as ash:`.

    Leaving the block ends turns as `shutdown`, pauses their sessions and ends every sandbox. That
    takes at most `grace_seconds` and 5 s more, also when the script is cancelled. The next
    program that opens the data directory, `ashd` too, can resume the sessions. Every failure is
    an AshError.
    """

    def __init__(self, **settings: Any) -> None:
        """Takes the settings of docs/configuration.md by name; reads no file and no environment.

        Raises ConfigError.
        """
        self._settings = config.load(None, {}, settings, given_by="Ash()")
        self._held = AsyncExitStack()
        self._opened: OpenCore | None = None

    @classmethod
    def from_environment(cls, config_file: str | Path | None = None, **settings: Any) -> Self:
        """Finds settings as `ashd` does: those given, else the environment, else the file.

        Without `config_file` the file is ASH_CONFIG's or `ash.toml`. Raises ConfigError.
        """
        found = cls()
        file = Path(config_file) if config_file else None
        found._settings = load_to_start(file, os.environ, settings, given_by="Ash()")
        return found

    @property
    def settings(self) -> Settings:
        return self._settings

    async def __aenter__(self) -> Self:
        """Raises StartError."""
        if self._opened is not None:
            raise StartError("This Ash is open already")
        self._opened = await self._held.enter_async_context(open_below_script(self._settings))
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

    async def ask(self, request: Request[T]) -> T:
        """Answers the request. Raises AshError."""
        opened = self._running()
        with opened.call():
            answer: T = await respond(opened.core, request)
        return answer

    def follow(self, request: StreamRequest) -> EmbeddedEventStream:
        """The stream for that request; nothing is asked yet."""
        return EmbeddedEventStream(self._running(), request)

    def _running(self) -> OpenCore:
        """Raises AshError if there is none."""
        if self._opened is None or self._opened.over:
            raise AshError("This Ash is not open: use it within `async with Ash(…) as ash:`")
        return self._opened
