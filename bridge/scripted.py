"""The engine `scripted`: needs no SDK, CLI or model, and writes the messages that the CLI would.

bridge/script.py says what it answers.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import trio
from msgspec import Raw, structs

from ash.model_turn import text_block
from ash.protocol import McpServerState
from bridge import cli_messages as cli
from bridge import transcripts
from bridge.engine import Emit, EngineBusy, EngineDied, EngineError, EngineGone, Launch, WriteLog
from bridge.scripted_background import ScriptedBackground
from bridge.scripted_turn import ScriptedTurn

_MODEL = "scripted"


class Scripted:
    """Bash and Write really act; other settings of a launch are only shown in `init`."""

    @asynccontextmanager
    async def open(
        self, launch: Launch, *, resume: bool, write_log: WriteLog
    ) -> "AsyncIterator[ScriptedConversation]":
        transcript = Transcript(launch.session_id)
        exists = await trio.to_thread.run_sync(transcript.exists)
        if exists and not resume:
            raise EngineError(f"Session ID {launch.session_id} is already in use.")
        texts = await trio.to_thread.run_sync(transcript.texts)
        async with trio.open_nursery() as nursery:
            tasks, failure = ScriptedBackground(nursery), None
            try:
                yield ScriptedConversation(launch, transcript, texts, tasks)
            except Exception as error:  # noqa: BLE001 - raised below, not in a group
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure


class ScriptedConversation:
    """Runs in the bridge's own process; after a scripted crash it refuses further turns."""

    def __init__(
        self,
        launch: Launch,
        transcript: "Transcript",
        texts: list[str],
        tasks: ScriptedBackground,
    ) -> None:
        self._launch = launch
        self._transcript = transcript
        self._texts = texts
        self._tasks = tasks
        self._total = cli.Usage()
        self._number = 0
        self._running: ScriptedTurn | None = None
        self._dead = False

    @property
    def session_id(self) -> str:
        return self._launch.session_id

    async def turn(
        self,
        prompt: Raw,
        model: str | None,
        emit: Emit,
        taken: Callable[[], None] | None = None,
    ) -> None:
        """Plays one turn."""
        if self._dead:
            raise EngineGone("the engine's process is gone")
        if taken is not None:
            if self._tasks.ended:
                raise EngineBusy("a command in the background has ended")
            taken()
        said = _texts(msgspec.json.decode(prompt))
        if said == ["/clear"]:
            await self._clear(model, emit)
            return
        texts = [*self._texts, *said]
        with self._playing(texts, model, emit) as turn:
            ending = await turn.play()
            # Stored before the result is sent, so whoever has seen the result can rely on it.
            await trio.to_thread.run_sync(self._transcript.append, prompt, turn.answer)
            self._texts = texts
            await turn.end(ending, self._number)

    async def own_turn(self, emit: Emit) -> None:
        """Plays the turn that answers the end of a command in the background."""
        with self._playing(self._texts, None, emit) as turn:
            ending = await turn.play_own(self._tasks.ended.popleft())
            await trio.to_thread.run_sync(self._transcript.append, None, turn.answer)
            await turn.end(ending, self._number, origin={"kind": "task-notification"})

    def on_own_work(self, own_turn: Callable[[], None], tasks: Callable[[list[str]], None]) -> None:
        self._tasks.on_own_turn, self._tasks.on_tasks = own_turn, tasks

    @contextmanager
    def _playing(self, texts: list[str], model: str | None, emit: Emit) -> Iterator[ScriptedTurn]:
        model = model or self._launch.model or _MODEL
        turn = ScriptedTurn(self._launch, model, texts, self._total, emit, tasks=self._tasks)
        self._running = turn
        try:
            yield turn
        except EngineDied:
            self._dead = True
            raise
        finally:
            self._running = None
            self._number += 1

    async def _clear(self, model: str | None, emit: Emit) -> None:
        """Goes on without a memory, under another id, as the CLI does."""
        old, new = self._launch.session_id, str(uuid4())
        self._launch = structs.replace(self._launch, session_id=new)
        self._transcript, self._texts = Transcript(new), []
        with self._playing([], model, emit) as turn:
            await turn.clear(old, self._number)

    def on_end(self, tell: WriteLog) -> None:
        """Does nothing: there is no process that could end by itself."""

    def on_mcp_status(self, tell: Callable[[list[McpServerState]], None]) -> None:
        """Does nothing: it starts no MCP servers."""

    async def interrupt(self) -> None:
        if self._running:
            self._running.interrupt.set()


class Transcript:
    """A file with the user's prompts, one a line, in the place where the CLI has transcripts."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id

    def exists(self) -> bool:
        return self.path().exists()

    def texts(self) -> list[str]:
        """All texts of the user; the lines of an agent's messages have none."""
        if not self.exists():
            return []
        lines = map(msgspec.json.decode, self.path().read_bytes().splitlines())
        prompts = (line["message"]["content"] for line in lines if line["type"] == "user")
        return [text for prompt in prompts for text in _texts(prompt)]

    def append(self, prompt: Raw | None, answer: str) -> None:
        """Adds a prompt and the uuid of the agent's last message, by which a fork finds it."""
        head = {"sessionId": self._session_id, "timestamp": cli.now()}
        lines: list[dict[str, Any]] = []
        if prompt is not None:
            message = {"role": "user", "content": prompt}
            lines.append({"type": "user", **head, "uuid": str(uuid4()), "message": message})
        lines.append({"type": "assistant", **head, "uuid": answer, "message": {}})
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))

    def path(self) -> Path:
        return transcripts.path_for(self._session_id)


def _texts(prompt: str | list[dict[str, Any]]) -> list[str]:
    blocks = [text_block(prompt)] if isinstance(prompt, str) else prompt
    return [block.get("text", "") for block in blocks if block.get("type") == "text"]
