"""The one task that opens, uses and closes the engine's conversation.

Commands for the engine (`open`, `resume`, `query`) become jobs in a queue, and `EngineWorker.run`
does them one after the other. One task owns the conversation from its opening to its closing,
because claude-code-sdk keeps a nursery open in between and a nursery must be closed by the task
that opened it. For the same reason the cancel scope in `_open_and_serve` lies around the whole
conversation. Interrupts come from the task that reads commands; it never waits for the worker.

A conversation is kept from turn to turn, because starting a CLI costs far more than a turn. It is
closed and opened anew in three cases:
- a job needs a launch that differs from the one it was opened with (the CLI takes it as flags);
- it has a budget: the CLI counts what it spends over the life of its process, so a process with a
  budget serves one query;
- its process has died. If it died before the turn began, the turn is tried once more.

The engine may begin a turn by itself while it is idle. That is done as a job, too, and comes before
the queries that wait. A query that `yields` is refused while such a turn runs.

An interrupt is repeated until the turn ends, because the CLI forgets one that comes at the wrong
moment. If the turn does not end in time, the conversation is cancelled, which ends its process;
the next job resumes from disk. docs/decisions/0004-engines.md has the observations behind this.
"""

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

import trio
from msgspec import structs

from ash.protocol import (
    Open,
    OwnTurn,
    Query,
    Resume,
)
from bridge import prompt_file
from bridge.engine import (
    Conversation,
    Engine,
    EngineBusy,
    EngineDied,
    EngineError,
    EngineGone,
    Launch,
    WriteLog,
    opened_with,
    wanted_by,
)
from bridge.memory import Memory
from bridge.outbox import Outbox
from bridge.worker_answers import WorkerAnswers, WorkerJob

# How long an interrupted turn may take to end before its engine is ended. The daemon kills the
# sandbox after five seconds.
INTERRUPT_SECONDS = 4.0
# An interrupt is repeated this often, because the CLI forgets one that comes at the wrong moment.
INTERRUPT_AGAIN_SECONDS = 1.0
# Few, because one prompt may take 50 MB.
MAX_QUEUED = 16


class EngineWorker:
    """Does one job after the other, with at most one conversation open at a time.

    `load` imports the engine, which may take a second.
    """

    def __init__(
        self, load: Callable[[], Engine], outbox: Outbox, write_log: WriteLog, memory: Memory
    ) -> None:
        self._load = load
        self._memory = memory
        self._answers = WorkerAnswers(outbox)
        self._write_log = write_log
        self._engine: Engine | None = None
        self._waiting: deque[WorkerJob] = deque()
        self._arrived = trio.lowlevel.ParkingLot()
        self._current: WorkerJob | None = None
        self._standing: Launch | None = None
        self._resume = True
        self._conversation: Conversation | None = None
        self._idle = False
        self._own_turns = 0
        self._ids = count(1)
        self._tasks: list[str] = []
        self._deltas = False
        self._scope = trio.CancelScope()

    def submit(self, command: Open | Resume | Query) -> None:
        job = WorkerJob(command, self._launch(command))
        if len(self._waiting) >= MAX_QUEUED:
            self._finish(job, f"There are {MAX_QUEUED} requests waiting already")
            return
        if isinstance(command, Query) and command.yields and self._in_own_turn:
            self._refuse(job)
            return
        self._waiting.append(job)
        self._arrived.unpark()

    @property
    def _in_own_turn(self) -> bool:
        return self._current is not None and isinstance(self._current.command, OwnTurn)

    def find_turn(self, turn_id: str = "") -> WorkerJob | None:
        """The turn with that id. Without an id the running one, or else the first that waits."""
        jobs = [job for job in (self._current, *self._waiting) if job is not None]
        turns = (job for job in jobs if isinstance(job.command, Query | OwnTurn))
        return next((job for job in turns if turn_id in ("", job.command.id)), None)

    async def run(self) -> None:
        """Runs until cancelled; then it closes the engine and answers every job that is left."""
        try:
            with suppress(EngineError):
                await self._loaded()
            job = await self._next()
            while True:
                job = await self._open_and_serve(job)
        finally:
            for left in (self._current, *self._waiting):
                if left is not None:
                    self._finish(left, "The agent's process is shutting down")

    async def stop(self, job: WorkerJob) -> None:
        """Interrupts a turn. If it has not ended after INTERRUPT_SECONDS, ends the engine."""
        if job.interrupted:
            return
        job.interrupted = True
        with trio.move_on_after(INTERRUPT_SECONDS):
            await job.started.wait()
            while not job.finished.is_set():
                await self._interrupt(job)
        while not job.finished.is_set():
            self._force_end(job)
            with trio.move_on_after(INTERRUPT_AGAIN_SECONDS):
                await job.finished.wait()

    def _force_end(self, job: WorkerJob) -> None:
        if job is self._current:
            self._scope.cancel()
        else:
            self._waiting.remove(job)
            self._finish(job)

    async def _interrupt(self, job: WorkerJob) -> None:
        with trio.move_on_after(INTERRUPT_AGAIN_SECONDS):
            if self._conversation is not None:
                with suppress(EngineError):
                    await self._conversation.interrupt()
            await job.finished.wait()

    def _launch(self, command: Open | Resume | Query) -> Launch:
        """The launch that the engine needs for this command."""
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
            # A bridge serves one session, so its shell commands get the session's environment too.
            os.environ.update(job.launch.extra_env)
        return job

    async def _open_and_serve(self, job: WorkerJob) -> WorkerJob:
        """Opens a conversation for the job and does every job it can serve.

        Returns the first job that needs another conversation.
        """
        with trio.CancelScope() as self._scope:
            try:
                engine = await self._loaded()
                resume = await self._memory.prepare(job.launch, resume=self._resume)
                await self._show_prompt(job.launch)
                async with engine.open(
                    job.launch, resume=resume, write_log=self._write_log
                ) as conversation:
                    return await self._serve(conversation, job)
            except EngineError as error:
                current = self._current
                again = isinstance(error, EngineGone) or self._is_refused(job.launch, error)
                if again and current and not current.retried:
                    current.retried = True
                    return current
                self._finish_current(str(error))
            except Exception as error:  # noqa: BLE001 - a fault of an SDK costs one conversation
                traceback.print_exc(file=sys.stderr)
                self._finish_current(f"The engine failed: {error!r}")
            finally:
                self._conversation = None
                self._lose_own_work()
        if self._scope.cancelled_caught:
            self._finish_current("The engine did not stop when it was told to, and was ended")
        return await self._next()

    def _is_refused(self, launch: Launch, error: EngineError) -> bool:
        """Whether the engine did not open because of the transcript that it found."""
        return self._conversation is None and self._memory.refused(launch, str(error))

    async def _show_prompt(self, launch: Launch) -> None:
        """A session's own prompt takes the place of the agent's CLAUDE.md, for any engine."""
        if launch.system_prompt:
            put = partial(prompt_file.put, launch.system_prompt, Path.cwd(), self._write_log)
            await trio.to_thread.run_sync(put)

    async def _serve(self, conversation: Conversation, job: WorkerJob) -> WorkerJob:
        """Does jobs until one needs another conversation, and returns that one.

        Raises EngineDied when the engine's process is gone.
        """
        self._conversation = conversation
        self._resume = True
        conversation.on_end(self._report_exit)
        conversation.on_own_work(self._wake, self._report_tasks)
        conversation.on_mcp_status(self._answers.report_mcp_status)
        launch = job.launch
        while True:
            try:
                await self._run_job(job)
            finally:
                launch = self._follow(conversation, launch)
            job = await self._next_when_idle(conversation)
            # The CLI counts its budget over the life of the process, so each query gets a new one.
            if job.launch != launch or launch.max_budget_usd is not None:
                return job

    def _follow(self, conversation: Conversation, launch: Launch) -> Launch:
        """The launch that would open the conversation anew: `/clear` has given it another id."""
        if conversation.session_id == launch.session_id:
            return launch
        moved = {"session_id": conversation.session_id, "last": None, "began": False, "fork": None}
        if self._standing is not None:
            self._standing = structs.replace(self._standing, **moved)
        return structs.replace(launch, **moved)

    async def _next_when_idle(self, conversation: Conversation) -> WorkerJob:
        while True:
            self._idle = True
            try:
                while not self._waiting and not self._own_turns:
                    await self._arrived.park()
            finally:
                self._idle = False
            if not self._own_turns:
                return await self._next()
            await self._run_own_turn(conversation)

    async def _run_own_turn(self, conversation: Conversation) -> None:
        assert self._standing is not None
        self._own_turns -= 1
        command = OwnTurn(self._standing.session_id, id=f"own-{next(self._ids)}")
        job = self._current = WorkerJob(command, self._standing)
        job.started.set()
        for waiting in list(self._waiting):
            if isinstance(waiting.command, Query) and waiting.command.yields:
                self._waiting.remove(waiting)
                self._refuse(waiting)
        self._answers.begin_own(command)
        await conversation.own_turn(self._answers.emit(deltas=self._deltas))
        self._finish(job)

    def _wake(self) -> None:
        self._own_turns += 1
        self._arrived.unpark()

    def _report_tasks(self, tasks: list[str]) -> None:
        self._tasks = tasks
        self._answers.report_tasks(tasks)

    def _lose_own_work(self) -> None:
        """What ran in the background has ended with the engine's process."""
        self._own_turns = 0
        if self._tasks:
            self._write_log(f"Ended with the engine, in the background: {'; '.join(self._tasks)}")
            self._report_tasks([])

    def _report_exit(self, why: str) -> None:
        """Tells the daemon that an idle engine has ended; one that we close is not reported."""
        if self._idle:
            self._answers.report_exit(why)

    async def _run_job(self, job: WorkerJob) -> None:
        error = ""
        if isinstance(job.command, Query):
            assert self._conversation is not None
            query = job.command
            job.started.set()
            self._deltas = bool(query.include_partial_messages)
            taken = partial(self._answers.take, query) if query.yields else None
            emit = self._answers.emit(deltas=self._deltas)
            try:
                await self._conversation.turn(query.prompt, query.model, emit, taken)
            except EngineDied:
                raise
            except EngineBusy:
                self._refuse(job)
                return
            except EngineError as failure:
                error = str(failure)
        self._finish(job, error)

    def _refuse(self, job: WorkerJob) -> None:
        self._forget(job)
        self._answers.refuse(job)

    def _finish_current(self, error: str) -> None:
        if self._current is not None:
            self._finish(self._current, error)

    def _finish(self, job: WorkerJob, error: str = "") -> None:
        self._forget(job)
        self._answers.finish(job, error)

    def _forget(self, job: WorkerJob) -> None:
        if job is self._current:
            self._current = None

    async def _loaded(self) -> Engine:
        """Imports the engine in a thread, so that interrupts and shell commands don't wait."""
        if self._engine is None:
            try:
                self._engine = await trio.to_thread.run_sync(self._load, abandon_on_cancel=True)
            except ImportError as error:
                raise EngineError(f"The engine is not installed: {error}") from error
        return self._engine
