"""The engine `scripted`: needs no SDK, CLI or model, and writes the messages that the CLI would.

bridge/script.py says what it answers.
"""

import os
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec import Raw

from ash.model_turn import text_block
from ash.protocol import Branch, McpServerState
from bridge import cli_messages as cli
from bridge.engine import Emit, EngineDied, EngineError, EngineGone, Launch, WriteLog
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
        if not exists and launch.fork is not None:
            await trio.to_thread.run_sync(transcript.branch_off, launch.fork)
        texts = await trio.to_thread.run_sync(transcript.texts)
        yield ScriptedConversation(launch, transcript, texts)


class ScriptedConversation:
    """Runs in the bridge's own process; after a scripted crash it refuses further turns."""

    def __init__(self, launch: Launch, transcript: "Transcript", texts: list[str]) -> None:
        self._launch = launch
        self._transcript = transcript
        self._texts = texts
        self._total = cli.Usage()
        self._number = 0
        self._running: ScriptedTurn | None = None
        self._dead = False

    async def turn(self, prompt: Raw, model: str | None, emit: Emit) -> None:
        """Plays one turn."""
        if self._dead:
            raise EngineGone("the engine's process is gone")
        model = model or self._launch.model or _MODEL
        texts = [*self._texts, *_texts(msgspec.json.decode(prompt))]
        turn = self._running = ScriptedTurn(self._launch, model, texts, self._total, emit)
        try:
            ending = await turn.play()
            # Stored before the result is sent, so whoever has seen the result can rely on it.
            await trio.to_thread.run_sync(self._transcript.append, prompt)
            self._texts = texts
            await turn.end(ending, self._number)
        except EngineDied:
            self._dead = True
            raise
        finally:
            self._running = None
            self._number += 1

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
        self._folder = _projects() / re.sub(r"[^a-zA-Z0-9]", "-", os.path.realpath("."))

    def exists(self) -> bool:
        return self.path().exists()

    def texts(self) -> list[str]:
        """All texts of the user, whichever folder the conversation took place in."""
        if not self.exists():
            return []
        lines = self.path().read_bytes().splitlines()
        prompts = (msgspec.json.decode(line)["message"]["content"] for line in lines)
        return [text for prompt in prompts for text in _texts(prompt)]

    def branch_off(self, branches: list[Branch]) -> None:
        """Begins as a copy of the first of those conversations that exists."""
        for branch in branches:
            other = Transcript(branch.session_id)
            if other.exists():
                lines = other.path().read_bytes().splitlines(keepends=True)
                path = self.path()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"".join(lines[: branch.prompts]))
                return

    def append(self, prompt: Raw) -> None:
        message = {"role": "user", "content": prompt}
        head = {"type": "user", "sessionId": self._session_id, "timestamp": cli.now()}
        path = self.path()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode({**head, "message": message}) + b"\n")

    def path(self) -> Path:
        name = f"{self._session_id}.jsonl"
        return next(_projects().glob(f"*/{name}"), self._folder / name)


def _projects() -> Path:
    config = os.environ.get("CLAUDE_CONFIG_DIR")
    return (Path(config) if config else Path.home() / ".claude") / "projects"


def _texts(prompt: str | list[dict[str, Any]]) -> list[str]:
    blocks = [text_block(prompt)] if isinstance(prompt, str) else prompt
    return [block.get("text", "") for block in blocks if block.get("type") == "text"]
