"""A job of the engine's worker, and all that the daemon is told of it."""

import trio

from ash.protocol import (
    BackgroundTasks,
    EngineExited,
    Failed,
    McpServerState,
    McpStatus,
    Open,
    Opened,
    OwnTurn,
    PromptRefused,
    PromptTaken,
    Query,
    Resume,
    TurnDone,
    encode,
    message_line,
)
from bridge.engine import Emit, Launch
from bridge.outbox import Outbox
from bridge.raw_lines import read_head


class WorkerJob:
    """A command for the engine, or a turn of its own, from its arrival to its last answer.

    `started` is set when its prompt goes to the conversation, `finished` after its last answer.
    """

    def __init__(self, command: Open | Resume | Query | OwnTurn, launch: Launch) -> None:
        self.command = command
        self.launch = launch
        self.started = trio.Event()
        self.finished = trio.Event()
        self.interrupted = False
        self.retried = False


class WorkerAnswers:
    """Writes the answers to the worker's jobs, and what the engine does between them."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def emit(self, *, deltas: bool) -> Emit:
        """Gives a function that sends the messages of a turn, the deltas only if wanted."""

        async def emit(raw: bytes | memoryview) -> None:
            if deltas or read_head(raw).type != "stream_event":
                await self._outbox.put(message_line(raw))

        return emit

    def begin_own(self, command: OwnTurn) -> None:
        self._outbox.put_now(encode(command))

    def take(self, query: Query) -> None:
        """The first answer to a query that yields: the engine has taken its prompt."""
        self._outbox.put_now(encode(PromptTaken(id=query.id)))

    def refuse(self, job: WorkerJob) -> None:
        """The only answer to a query that yields to a turn of the engine's own."""
        self._outbox.put_now(encode(PromptRefused(id=job.command.id)))
        job.finished.set()

    def finish(self, job: WorkerJob, error: str = "") -> None:
        """Sends the last answers of a job. Every turn ends with exactly one `done`."""
        command = job.command
        if error:
            self._outbox.put_now(encode(Failed(error, id=command.id)))
        if isinstance(command, Query | OwnTurn):
            self._outbox.put_now(encode(TurnDone(command.session_id, id=command.id)))
        elif not error:
            self._outbox.put_now(encode(Opened(id=command.id)))
        job.finished.set()

    def report_tasks(self, tasks: list[str]) -> None:
        self._outbox.put_now(encode(BackgroundTasks(tasks)))

    def report_mcp_status(self, servers: list[McpServerState]) -> None:
        self._outbox.put_now(encode(McpStatus(servers)))

    def report_exit(self, why: str) -> None:
        self._outbox.put_now(encode(EngineExited(why)))
