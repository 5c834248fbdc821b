"""The one task that opens, uses and closes the engine's conversation."""

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import trio

from ash.protocol import (
    EngineExited,
    Failed,
    Open,
    Opened,
    Query,
    Resume,
    TurnDone,
    encode,
    message_line,
)
from bridge.engine import (
    Conversation,
    Emit,
    Engine,
    EngineDied,
    EngineError,
    EngineGone,
    Launch,
    WriteLog,
    opened_with,
    wanted_by,
)
from bridge.outbox import Outbox
from bridge.raw_lines import read_head

# An interrupt that the engine does not follow ends the engine, so that the turn is over within
# the five seconds that the daemon gives it.
PATIENCE = 4.0
# An interrupt that comes at the wrong moment is forgotten by the CLI.
REPEAT = 1.0
# One prompt may be 50 MB.
MAX_QUEUED = 16


class WorkerJob:
    """A command for the engine, from its arrival to its last answer.

    `asked` is set when its prompt has gone to the conversation, `over` after the answer.
    """

    def __init__(self, command: Open | Resume | Query, launch: Launch) -> None:
        self.command = command
        self.launch = launch
        self.asked = trio.Event()
        self.over = trio.Event()
        self.interrupted = False
        self.tried = False


class EngineWorker:
    """Does one job after the other. `load` imports the engine: it may take a second.

    A conversation is kept from turn to turn. It is opened anew when a job needs what it was
    not started with, or when it has died; never is there a second one beside it.
    """

    def __init__(self, load: Callable[[], Engine], outbox: Outbox, say: WriteLog) -> None:
        self._load = load
        self._outbox = outbox
        self._say = say
        self._engine: Engine | None = None
        self._waiting: deque[WorkerJob] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._current: WorkerJob | None = None
        self._standing: Launch | None = None
        self._resume = True
        self._conversation: Conversation | None = None
        self._resting = False
        self._scope = trio.CancelScope()

    def submit(self, command: Open | Resume | Query) -> None:
        job = WorkerJob(command, self._launch(command))
        if len(self._waiting) >= MAX_QUEUED:
            self._finish(job, f"There are {MAX_QUEUED} requests waiting already")
            return
        self._waiting.append(job)
        self._arrived.unpark()

    def first_turn(self) -> WorkerJob | None:
        """The turn that runs, or that runs next."""
        jobs = [self._current, *self._waiting]
        return next((job for job in jobs if job and isinstance(job.command, Query)), None)

    async def run(self) -> None:
        """Ends only when it is cancelled; then it closes the engine and answers what is left."""
        try:
            with suppress(EngineError):
                await self._loaded()
            job = await self._next()
            while True:
                job = await self._converse(job)
        finally:
            for left in (self._current, *self._waiting):
                if left is not None:
                    self._finish(left, "The agent's process is shutting down")

    async def stop(self, job: WorkerJob) -> None:
        """Interrupts a turn; if it does not follow within PATIENCE, the engine is ended."""
        if job.interrupted:
            return
        job.interrupted = True
        with trio.move_on_after(PATIENCE):
            await job.asked.wait()
            while not job.over.is_set():
                await self._interrupt(job)
        while not job.over.is_set():
            self._give_up(job)
            with trio.move_on_after(REPEAT):
                await job.over.wait()

    def _give_up(self, job: WorkerJob) -> None:
        if job is self._current:
            self._scope.cancel()
        else:
            self._waiting.remove(job)
            self._finish(job)

    async def _interrupt(self, job: WorkerJob) -> None:
        with trio.move_on_after(REPEAT):
            if self._conversation is not None:
                with suppress(EngineError):
                    await self._conversation.interrupt()
            await job.over.wait()

    def _launch(self, command: Open | Resume | Query) -> Launch:
        """What the engine must have been started with to do this."""
        if not isinstance(command, Query):
            return opened_with(command)
        return wanted_by(command, self._standing or Launch(session_id=command.session_id))

    async def _next(self) -> WorkerJob:
        while not self._waiting:
            await self._arrived.park()
        job = self._current = self._waiting.popleft()
        if isinstance(job.command, Query):
            job.launch = self._launch(job.command)
        else:
            known = self._standing.session_id if self._standing else None
            self._resume = isinstance(job.command, Resume) or known == job.launch.session_id
            self._standing = job.launch
            # The bridge is one session's alone: its commands and tools get this as the CLI does.
            os.environ.update(job.launch.extra_env)
        return job

    async def _converse(self, job: WorkerJob) -> WorkerJob:
        """Opens what the job needs and does all that this can do; returns the first other job."""
        with trio.CancelScope() as self._scope:
            try:
                engine = await self._loaded()
                async with engine.open(job.launch, resume=self._resume, say=self._say) as talk:
                    return await self._keep(talk, job)
            except EngineError as error:
                current = self._current
                if isinstance(error, EngineGone) and current and not current.tried:
                    current.tried = True
                    return current
                self._finish_current(str(error))
            except Exception as error:  # noqa: BLE001 - a fault of an SDK costs one conversation
                traceback.print_exc(file=sys.stderr)
                self._finish_current(f"The engine failed: {error!r}")
            finally:
                self._conversation = None
        if self._scope.cancelled_caught:
            self._finish_current("The engine did not stop when it was told to, and was ended")
        return await self._next()

    async def _keep(self, conversation: Conversation, job: WorkerJob) -> WorkerJob:
        """Raises EngineDied when there can be no further turn."""
        self._conversation = conversation
        self._resume = True
        conversation.on_end(self._tell_gone)
        launch = job.launch
        while True:
            await self._do(job)
            job = await self._rest()
            # What the CLI has spent adds up over the life of its process.
            if job.launch != launch or launch.max_budget_usd is not None:
                return job

    async def _rest(self) -> WorkerJob:
        self._resting = True
        try:
            return await self._next()
        finally:
            self._resting = False

    def _tell_gone(self, why: str) -> None:
        """Of one that is just being closed there is nothing to tell."""
        if self._resting:
            self._outbox.put_now(encode(EngineExited(why)))

    async def _do(self, job: WorkerJob) -> None:
        error = ""
        if isinstance(job.command, Query):
            assert self._conversation is not None
            query = job.command
            job.asked.set()
            try:
                await self._conversation.turn(query.prompt, query.model, self._emit(query))
            except EngineDied:
                raise
            except EngineError as failure:
                error = str(failure)
        self._finish(job, error)

    def _emit(self, query: Query) -> Emit:
        async def emit(raw: bytes | memoryview) -> None:
            if query.include_partial_messages or read_head(raw).type != "stream_event":
                await self._outbox.put(message_line(raw))

        return emit

    def _finish_current(self, error: str) -> None:
        if self._current is not None:
            self._finish(self._current, error)

    def _finish(self, job: WorkerJob, error: str = "") -> None:
        """The last answers of a job. A turn always ends with its `done`."""
        command = job.command
        if error:
            self._outbox.put_now(encode(Failed(error, id=command.id)))
        if isinstance(command, Query):
            self._outbox.put_now(encode(TurnDone(command.session_id, id=command.id)))
        elif not error:
            self._outbox.put_now(encode(Opened(id=command.id)))
        if job is self._current:
            self._current = None
        job.over.set()

    async def _loaded(self) -> Engine:
        """Imports in a thread, so that interrupts and shell commands need not wait for it."""
        if self._engine is None:
            try:
                self._engine = await trio.to_thread.run_sync(self._load, abandon_on_cancel=True)
            except ImportError as error:
                raise EngineError(f"The engine is not installed: {error}") from error
        return self._engine
