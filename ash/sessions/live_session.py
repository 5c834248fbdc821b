"""A session that runs in this daemon."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from functools import partial
from typing import Literal, TypeAlias

import trio
from msgspec import structs

from ash import events
from ash.clock import now_iso
from ash.errors import AshError, BadRequest, Conflict, EngineFailed, Unavailable
from ash.lifecycle import CHANGES, Action, refusal
from ash.log import get_logger
from ash.model import LogLevel, StoredSession, TurnReason
from ash.protocol import Exec, ExecResult, Query
from ash.sandbox.link import ShellCommand
from ash.sandbox.sandbox import EngineLaunch, SandboxEnd
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.frame_ring import FrameRing
from ash.sessions.session_sandbox import AgentProcess, SessionSandbox, Work
from ash.sessions.turn import STEP_SECONDS, Turn, TurnContext, WriteEnd
from ash.store.sessions import StatusChange

log = get_logger()


# Between two tries to store a session's end: what keeps it may be gone at any time.
RETRY_SECONDS = 1.0

NOT_STORED = "What the agent did could not be stored"
KILLED = "the agent did not stop and was killed"


WhenBusy = Literal["refuse", "queue", "interrupt"]

# What becomes of a session, and what its lifecycle event says besides.
Outcome: TypeAlias = tuple[Action, dict[str, str]]


class LiveSession:
    """Publishes to its stream and, through its box, owns the sandbox and the turn there.

    `gone` is set when its sandbox is, and what became of the session is stored.
    """

    def __init__(
        self,
        dependencies: SessionDependencies,
        stored: StoredSession,
        sandbox: SessionSandbox,
        ring: FrameRing,
    ) -> None:
        self.stored = stored
        self.ring = ring
        self.turn: Turn | None = None
        self.gone = trio.Event()
        self._dependencies = dependencies
        self._sandbox = sandbox
        self._pausing = 0
        self._entry = trio.StrictFIFOLock()
        # Two that are committed together come back in any order.
        self._changing = trio.Lock()
        self._started = trio.Event()
        self._was_up = False
        self._broken = False
        self._paused_with: Turn | None = None
        self._decided = trio.Event()
        self._sandbox_end: SandboxEnd | None = None
        self._end: Outcome | None = None
        self._stored_end: Outcome | None = None

    async def run(self, boot: Work, settings: EngineLaunch, event: str | None) -> None:
        """Boots or binds the engine, waits for the sandbox's end, and stores what became of it.

        `boot` returns when the sandbox is booted or has failed to. `event` is what the timeline
        says of its start; None if it is resumed.

        Nobody who asked for any of this has to stay for it. Raises nothing but Cancelled.
        """
        try:
            try:
                await self._start(boot, settings, event)
            except Exception as error:  # noqa: BLE001 - one session must not take all along
                # A session that was stopped before it was up has not failed.
                self._sandbox.close(error if self._end is None else None)
            else:
                self._was_up = True
                self._started.set()
            self._sandbox_end = await self._sandbox.ended()
            await self._store_end()
            # After both: the upload has the files that were kept and what became of the session.
            if self._sandbox_end.kept and self._dependencies.snapshots is not None:
                self._dependencies.snapshots.session_changed(self.stored.session)
        finally:
            self.gone.set()
            self._decided.set()
            self._started.set()

    async def started(self) -> None:
        """Returns when the session is active. Raises why it can't be; that is stored then."""
        await self._started.wait()
        if not self._was_up:
            error = copy(self._failure or self._overtaken())
            error.text += f" (its log: GET /api/sessions/{self.stored.session.id}/logs)"
            raise error

    def start_turn(self, query: Query) -> Turn:
        """Raises BadRequest if the session is not up, Conflict while a turn runs."""
        process = self._running_process()
        if self.turn is not None:
            raise Conflict("A turn is running in this session: wait for its done, or interrupt it")
        dependencies = self._dependencies
        context = TurnContext(
            self.stored,
            self.ring,
            dependencies.store,
            dependencies.clock,
            dependencies.silence_timeout,
            self._end_turn,
        )
        self.turn = turn = Turn(context, process, query)
        self._sandbox.start(partial(self._run_turn, process, turn), is_turn=True)
        return turn

    async def exec(self, command: Exec) -> ExecResult:
        """Runs a shell command; the session is busy until it ends, whether or not we wait.

        Raises BadRequest if the session is not up, EngineFailed if it could not be run,
        Conflict if the sandbox was given up meanwhile.
        """
        process = self._running_process()
        running = ShellCommand(process.link, command)
        self._sandbox.start(running.run)
        try:
            return await running.result()
        except EngineFailed:
            if self._end is None:
                raise
            raise Conflict("The session was stopped while the command ran") from None

    @asynccontextmanager
    async def entry(self, when_busy: WhenBusy) -> AsyncIterator[None]:
        """Waits for the running turn to end, or ends it; first come, first served.

        One whose end was shown is over, for whoever has seen that, and always waited for.
        """
        if when_busy == "refuse":
            while self.turn is not None and self.turn.last_frame is not None:
                await self.turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield
            return
        async with self._entry:
            while (turn := self.turn) is not None:
                if when_busy == "interrupt":
                    await turn.stop("interrupted")
                await turn.finished.wait()
                await trio.lowlevel.checkpoint()
            yield

    async def pause(self) -> None:
        """Stops the turn that runs and keeps the sandbox. Raises BadRequest if another won."""
        self._pausing += 1
        try:
            if (turn := self.turn) is not None:
                await turn.stop("stopped")
            if turn is not None and self._paused_with is turn:
                self._paused_with = None
            elif not await self.change("pause"):
                raise refusal("pause", self.stored.session.status)
        finally:
            self._pausing -= 1

    async def resume(self) -> bool:
        """Whether it is active with the sandbox that it has; else that is on its way out.

        Waits for one that is starting. Raises why that could not start.
        """
        await self.started()
        if self._sandbox.process is None:
            return False
        if self.stored.session.status == "paused":
            await self.change("resume", events.lifecycle("resumed", path="warm"))
            self._dependencies.pool.resumed("warm")
            self._sandbox.activate(self.evict)
        return self.stored.session.status == "active"

    async def configured(self) -> None:
        """What the store has now holds from the next turn on."""
        async with self._changing:
            await self._reload()

    def decide(self, action: Action, more: dict[str, str] | None = None) -> bool:
        """Settles what becomes of the session, unless it is settled; whether this is it.

        No turn begins any more. `wind_up` has to follow.
        """
        # First: a sandbox that is killed for its turn has not failed.
        self._sandbox.close()
        if self._end is not None:
            return False
        self._end = (action, more or {})
        return True

    async def wind_up(self, turn_reason: TurnReason, step: float = STEP_SECONDS) -> None:
        """Stops the turn that runs, then ends the sandbox, whose files are kept.

        Returns when what became of the session is stored, or can't be.
        """
        if self.turn is not None:
            await self.turn.stop(turn_reason, step)
        await self._decided.wait()

    async def close(
        self, action: Action, turn_reason: TurnReason, *, step: float = STEP_SECONDS, **more: str
    ) -> None:
        """Both."""
        self.decide(action, more)
        await self.wind_up(turn_reason, step)

    async def ended(self) -> None:
        """Returns when it is `gone`. Raises Unavailable while the store does not take its end."""
        await self._decided.wait()
        if not self.gone.is_set():
            raise Unavailable("The session has ended, but that can't be stored yet")

    async def evict(self, reason: str = "another session needed the room") -> bool:
        """Gives the sandbox up unless the session is busy; whether it did."""
        if self._sandbox.idle_since is None:
            return False
        await self.close("pause", "stopped", reason=reason)
        return True

    def idle_since(self) -> float | None:
        """When its last turn or command ended, in trio's time; None if it is busy."""
        return self._sandbox.idle_since

    async def change(self, action: Action, event: str | None = None, **more: str) -> bool:
        """Stores the new status with its lifecycle event, unless another was faster; whether.

        Not to be cancelled: what was committed has to be known here, too.
        """
        with trio.CancelScope(shield=True):
            async with self._changing:
                changed = await self._dependencies.store.change_session(
                    self.stored.session.id,
                    CHANGES[action],
                    now_iso(self._dependencies.clock),
                    event=event or events.lifecycle(CHANGES[action].target, **more),
                    generation=self.stored.generation,
                )
                if changed is None:
                    await self._reload()
                else:
                    self.stored = changed
        return changed is not None

    async def log(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        now = now_iso(self._dependencies.clock)
        await self._dependencies.store.append_logs(
            self.stored.session.id, [(level, text, now) for level, text in lines]
        )

    async def _start(self, boot: Work, settings: EngineLaunch, event: str | None) -> None:
        """Raises AshError, and what the store raises."""
        await self._sandbox.attach(self.log)
        await boot()
        await self._sandbox.bind(settings)
        if event is None:
            event = events.lifecycle("resumed", path="cold", source=self._sandbox.source)
            self._dependencies.pool.resumed("cold", self._sandbox.source)
        await self.change("activate", event)
        if self.stored.session.status != "active":
            raise self._overtaken()
        self._sandbox.activate(self.evict)

    async def _reload(self) -> None:
        found = await self._dependencies.store.session_by_id(self.stored.session.id)
        if found is not None:
            self.stored = structs.replace(self.stored, session=found.session)

    async def _end_turn(self, turn: Turn, write: WriteEnd) -> None:
        """Stores the end of the turn in one unit with what it makes of the session.

        So whoever is shown the end finds the session as the end leaves it.
        """
        async with self._changing:
            outcome = self._outcome_of(turn)
            was_decided = self._end is not None
            status = None if outcome is None else self._status_change(*outcome)
            changed = await write(status)
            if changed is not None:
                self.stored = changed
                if changed.session.status == "paused" and not was_decided:
                    self._paused_with = turn
        if outcome is not None and (was_decided or _has_no_sandbox(turn)):
            self._stored_end = outcome if changed is not None else None
            self.decide(*outcome)

    def _outcome_of(self, turn: Turn) -> Outcome | None:
        """What becomes of the session when the turn has ended; None if it stays active."""
        if self._end is not None:
            return self._end
        if turn.killed:
            return "pause", {"reason": KILLED}
        if self._pausing:
            return "pause", {}
        if turn.broken:
            return "fail", {"error": NOT_STORED}
        return None if turn.lost is None else ("fail", {"error": turn.lost})

    def _status_change(self, action: Action, more: dict[str, str]) -> StatusChange | None:
        """None if the session's status does not allow it."""
        change = CHANGES[action]
        if self.stored.session.status not in change.sources:
            return None
        return StatusChange(change, events.lifecycle(change.target, **more))

    async def _store_end(self) -> None:
        """Tries as long as it takes: until then the row claims that the session runs."""
        while True:
            try:
                await self._say_what_became_of_it()
            except Exception:
                if not self._decided.is_set():
                    log.exception("session.end_store_failed", session=self.stored.session.id)
                self._decided.set()
                await trio.sleep(RETRY_SECONDS)
            else:
                # The store works: lines of the log that it did not take are named now, if ever.
                await self._sandbox.log([])
                return

    async def _say_what_became_of_it(self) -> None:
        if self._end is None and self._failure is not None:
            self._end = "fail", {"error": self._failure.text}
        if self._end is None or self._end == self._stored_end:
            return
        action, more = self._end
        if self._broken:
            await self._end_broken_turn(action, more)
        await self.change(action, **more)

    async def _end_broken_turn(self, action: Action, more: dict[str, str]) -> None:
        """Stores the end that could not be stored, and the session's with it."""
        async with self._changing:
            changed = await self._dependencies.store.end_broken_turns(
                self.stored,
                NOT_STORED,
                self._status_change(action, more),
                now_iso(self._dependencies.clock),
            )
            if changed is not None:
                self.stored = changed

    async def _run_turn(self, process: AgentProcess, turn: Turn) -> None:
        try:
            async with process.link.turn() as batches:
                await turn.run(batches)
        finally:
            self.turn = None
            self._broken = turn.broken
            if _has_no_sandbox(turn) and (outcome := self._outcome_of(turn)) is not None:
                self.decide(*outcome)

    @property
    def _failure(self) -> AshError | None:
        return None if self._sandbox_end is None else self._sandbox_end.failure

    def _overtaken(self) -> Conflict:
        return Conflict(f"The session was {self.stored.session.status} while it started")

    def _running_process(self) -> AgentProcess:
        process = self._sandbox.process
        if process is None or self.stored.session.status != "active":
            raise BadRequest("Session is starting or ending")
        if self._pausing:
            raise BadRequest("Session is being paused")
        return process


def _has_no_sandbox(turn: Turn) -> bool:
    """Whether the turn has cost the session its sandbox."""
    return turn.killed or turn.broken or turn.lost is not None
