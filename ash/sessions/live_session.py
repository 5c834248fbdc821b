"""A session that runs in this daemon."""

from collections.abc import Sequence
from copy import copy
from functools import partial

import trio
from msgspec import Struct

from ash import events
from ash.clock import now_iso
from ash.errors import AshError, BadRequest, Conflict, EngineFailed, Unavailable
from ash.lifecycle import Action, not_active, refusal
from ash.log import get_logger
from ash.model import LogLevel, Session, StoredSession, TurnReason
from ash.protocol import Exec, ExecResult, OwnTurn, Query
from ash.sandbox.link import Batches, ShellCommand
from ash.sandbox.sandbox import EngineLaunch, SandboxEnd
from ash.sessions.dependencies import SessionDependencies
from ash.sessions.frame_ring import FrameRing
from ash.sessions.outcomes import NOT_STORED, Outcome, has_no_sandbox, outcome_of
from ash.sessions.own_work import OwnWork
from ash.sessions.recovered import Recoveries
from ash.sessions.remembered import history
from ash.sessions.session_entry import SessionEntry
from ash.sessions.session_row import SessionRow
from ash.sessions.session_sandbox import AgentProcess, SessionSandbox, Work
from ash.sessions.turn import STEP_SECONDS, Turn, TurnContext, WriteEnd

log = get_logger()

# The pause between two attempts to store a session's end: the disk may be back at any time.
RETRY_SECONDS = 1.0

BUSY_IN_PAUSE = "the agent began to work by itself while its session was paused"


class LiveSessionStatistics(Struct, frozen=True):
    """`outcome` is the action that ends its life here, None while nobody has decided one."""

    session: Session
    generation: int
    in_turn: bool
    idle_since: float | None
    outcome: Action | None


class LiveSession:
    """Owns a sandbox and the turn that runs in it, and publishes its frames to a ring.

    `gone` is set when the sandbox has ended and what became of the session is stored.
    """

    def __init__(
        self,
        dependencies: SessionDependencies,
        stored: StoredSession,
        sandbox: SessionSandbox,
        ring: FrameRing,
    ) -> None:
        self.ring = ring
        self.turn: Turn | None = None
        self.recoveries = Recoveries()
        self.gone = trio.Event()
        self._dependencies = dependencies
        self._sandbox = sandbox
        self._own_work = OwnWork(sandbox, dependencies.rules.background_limit)
        self._pausing = 0
        self.entry = SessionEntry(sandbox, lambda: self.turn)
        self._row = SessionRow(dependencies.store, dependencies.clock, stored)
        self._started = trio.Event()
        self._was_up = False
        self._broken = False
        self._begun: OwnTurn | None = None
        self._paused_with: Turn | None = None
        self._decided = trio.Event()
        self._sandbox_end: SandboxEnd | None = None
        self._end: Outcome | None = None
        self._stored_end: Outcome | None = None

    @property
    def stored(self) -> StoredSession:
        return self._row.stored

    async def run(self, boot: Work, settings: EngineLaunch, event: str | None) -> None:
        """Starts the engine, waits until the sandbox has ended, and stores the session's status.

        `boot` returns when the sandbox is booted or has failed to boot. `event` is the lifecycle
        event of the start; None means that the session is resumed. Raises nothing but Cancelled.
        """
        began = trio.current_time()
        try:
            try:
                await self._start(boot, settings, event)
            except Exception as error:  # noqa: BLE001 - one session must not take all along
                # A session that was stopped before it was up has not failed.
                self._sandbox.close(error if self._end is None else None)
            else:
                self._was_up = True
                self._started.set()
                seconds = round(trio.current_time() - began, 3)
                log.info("session.started", **self.stored.session.names, seconds=seconds)
            self._sandbox_end = await self._sandbox.ended()
            await self._store_end()
            if self._end is not None and self._end[0] == "fail":
                why, seconds = self._end[1]["error"], round(trio.current_time() - began, 3)
                log.warning("session.failed", **self.stored.session.names, why=why, seconds=seconds)
            # Last, because the upload contains the files that were kept and the new status.
            if self._sandbox_end.kept and self._dependencies.snapshots is not None:
                self._dependencies.snapshots.session_changed(self.stored.session)
        finally:
            self.gone.set()
            self._decided.set()
            self._started.set()

    async def started(self) -> None:
        """Returns when the session is active. If it can't start, raises why, which is stored."""
        await self._started.wait()
        if not self._was_up:
            error = copy(self._failure or self._overtaken())
            error.text += f" (its log: GET /api/sessions/{self.stored.session.id}/logs)"
            raise error

    def statistics(self) -> LiveSessionStatistics:
        return LiveSessionStatistics(
            session=self.stored.session,
            generation=self.stored.generation,
            in_turn=self.turn is not None,
            idle_since=self.idle_since(),
            outcome=None if self._end is None else self._end[0],
        )

    def start_turn(self, query: Query) -> Turn:
        """Raises BadRequest if the session is not up, Conflict while a turn runs."""
        process = self._running_process()
        if self.turn is not None:
            raise Conflict("A turn is running in this session: wait for its done, or interrupt it")
        query.yields = self._own_work.seen
        return self._start_turn(process, query)

    def _start_turn(self, process: AgentProcess, query: Query | OwnTurn) -> Turn:
        dependencies = self._dependencies
        # Also what was mended between two turns.
        self.recoveries.add(process.link.take_recovered())
        context = TurnContext(
            self.stored,
            self.ring,
            dependencies.store,
            dependencies.clock,
            dependencies.silence_timeout,
            self._end_turn,
            self.recoveries.take(),
        )
        self.turn = turn = Turn(context, process, query)
        # Before the task has started: the next event may be one of the turn.
        batches = process.link.listen(query.id)
        work = partial(self._run_turn, process, turn, batches)
        self._sandbox.start(work if turn.is_own else self._own_work.asked_for(work), is_turn=True)
        return turn

    async def exec(self, command: Exec) -> ExecResult:
        """Runs a shell command. A caller that is cancelled does not end the command.

        Raises BadRequest if the session is not up, EngineFailed if the command could not be run,
        Conflict if the session gave its sandbox up meanwhile.
        """
        process = self._running_process()
        running = ShellCommand(process.link, command)
        self._sandbox.start(self._own_work.asked_for(running.run))
        try:
            return await running.result()
        except EngineFailed:
            if self._end is None:
                raise
            raise Conflict("The session was stopped while the command ran") from None

    async def settled(self) -> None:
        """Returns at once, unless the sandbox has just died: then when the status says so."""
        dies = self._was_up and self._sandbox.process is None
        if dies and self._end is None and self.turn is None:
            await self._decided.wait()

    async def pause(self) -> None:
        """Stops the turn that runs and keeps the sandbox.

        Raises BadRequest if another caller has changed the session's status first.
        """
        if cut := self._own_work.cut():
            if not self.decide("pause", cut):
                raise refusal("pause", self.stored.session.status)
            await self.wind_up("stopped")
            return
        self._pausing += 1
        try:
            if (turn := self.turn) is not None:
                await turn.stop("stopped")
            if turn is not None and self._paused_with is turn:
                self._paused_with = None
            elif not await self._row.change("pause"):
                raise refusal("pause", self.stored.session.status)
        finally:
            self._pausing -= 1

    async def resume(self) -> bool:
        """Makes the session active in the sandbox that it has; False if that is about to end.

        Waits for a session that is starting, and raises why it could not start.
        """
        await self.started()
        if self._sandbox.process is None:
            return False
        if self.stored.session.status == "paused":
            await self._row.change("resume", events.lifecycle("resumed", path="warm"))
            self._dependencies.pool.resumed("warm")
            self._sandbox.activate(self.evict)
        return self.stored.session.status == "active"

    async def configured(self) -> None:
        """Reads the new configuration, which the next turn uses."""
        await self._row.reload()

    def decide(self, action: Action, more: dict[str, str] | None = None) -> bool:
        """Decides what becomes of the session; False if that was decided before.

        No turn can begin any more. The caller has to call `wind_up` next.
        """
        # Before the turn is stopped: a sandbox that is killed for that has not failed.
        self._sandbox.close()
        if self._end is not None:
            return False
        self._end = (action, {**(more or {}), **self._own_work.cut()})
        return True

    async def wind_up(self, turn_reason: TurnReason, step: float = STEP_SECONDS) -> None:
        """Stops the turn that runs; then the sandbox ends, and its files are kept.

        Returns when the session's new status is stored, or could not be stored.
        """
        if self.turn is not None:
            await self.turn.stop(turn_reason, step)
        await self._decided.wait()

    async def close(
        self, action: Action, turn_reason: TurnReason, *, step: float = STEP_SECONDS, **more: str
    ) -> None:
        """Decides what becomes of the session, and winds it up."""
        self.decide(action, more)
        await self.wind_up(turn_reason, step)

    async def ended(self) -> None:
        """Returns when it is `gone`. Raises Unavailable if its status could not be stored yet."""
        await self._decided.wait()
        if not self.gone.is_set():
            raise Unavailable("The session has ended, but that can't be stored yet")

    async def evict(self, reason: str = "another session needed the room") -> bool:
        """Gives the sandbox up unless the session is busy. Returns whether it did."""
        if self.idle_since() is None:
            return False
        log.info("session.evicted", **self.stored.session.names, why=reason)
        await self.close("pause", "stopped", reason=reason)
        return True

    @property
    def is_up(self) -> bool:
        """Whether the session is active, in a sandbox that is not ending."""
        return self._sandbox.process is not None and self.stored.session.status == "active"

    def idle_since(self) -> float | None:
        """When its last turn or command ended, in trio's time; None if it is busy."""
        return self._own_work.idle_since(self._sandbox.idle_since)

    async def log(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        now = now_iso(self._dependencies.clock)
        await self._dependencies.store.append_logs(
            self.stored.session.id, [(level, text, now) for level, text in lines]
        )

    async def _start(self, boot: Work, settings: EngineLaunch, event: str | None) -> None:
        """Raises AshError, and what the store raises."""
        remember = partial(history, self._dependencies.store, self.stored.session.id)
        await self._sandbox.attach(self.log, remember)
        await boot()
        await self._sandbox.bind(settings)
        if (process := self._sandbox.process) is not None:
            self.recoveries.add(process.link.take_recovered())
        if event is None:
            found = self.recoveries.summary()
            event = events.lifecycle("resumed", path="cold", source=self._sandbox.source, **found)
            self._dependencies.pool.resumed("cold", self._sandbox.source)
        elif faults := self._sandbox.faults:
            event = events.lifecycle("created", warnings=faults)
        await self._row.change("activate", event)
        if self.stored.session.status != "active":
            raise self._overtaken()
        self._sandbox.activate(self.evict)
        if (process := self._sandbox.process) is not None:
            process.link.on_own_turn = self._begin_own_turn
            process.link.on_tasks = self._own_work.update

    async def _begin_own_turn(self, begun: OwnTurn) -> None:
        """Starts the agent's own turn, unless a turn runs that does not give way to it."""
        self._own_work.seen = True
        self._begun, turn, process = begun, self.turn, self._sandbox.process
        if turn is None or process is None:
            self._start_own_turn()
        elif process.link.turn_is_over or turn.give_way():
            await turn.finished.wait()
        else:
            self._begun = None
        if self._end is not None and BUSY_IN_PAUSE in self._end[1].values():
            await self._sandbox.log([("system", BUSY_IN_PAUSE)])

    def _start_own_turn(self) -> None:
        begun, self._begun = self._begun, None
        process, is_active = self._sandbox.process, self.stored.session.status == "active"
        if begun is not None and process is not None and is_active and not self._pausing:
            self._start_turn(process, begun)
        elif begun is not None and process is not None:
            self.decide("pause", {"reason": BUSY_IN_PAUSE})

    async def _end_turn(self, turn: Turn, write: WriteEnd) -> None:
        """Stores the end of the turn in one unit with the session's status that follows from it.

        So a client that is shown the end finds the session in that status.
        """
        outcome, was_decided = self._outcome_of(turn), self._end is not None
        changed = await self._row.end_turn(write, *(outcome or (None, {})))
        if outcome is None:
            return
        if changed and not was_decided and outcome[0] == "pause":
            self._paused_with = turn
        if was_decided or has_no_sandbox(turn):
            self._stored_end = outcome if changed else None
            self.decide(*outcome)

    def _outcome_of(self, turn: Turn) -> Outcome | None:
        pausing, cut = bool(self._pausing), self._own_work.cut()
        return self._end or outcome_of(turn, pausing=pausing, cut=cut)

    async def _store_end(self) -> None:
        """Tries until the store takes it: before that the row says that the session runs."""
        while True:
            try:
                await self._store_status()
            except Exception:
                if not self._decided.is_set():
                    log.exception("session.end_store_failed", session=self.stored.session.id)
                self._decided.set()
                await trio.sleep(RETRY_SECONDS)
            else:
                # The store works again: the log now says how many of its lines are missing.
                await self._sandbox.log([])
                return

    async def _store_status(self) -> None:
        if self._end is None and self._failure is not None:
            self._end = "fail", {"error": self._failure.text}
        if self._end is None or self._end == self._stored_end:
            return
        action, more = self._end
        if self._broken:
            await self._row.end_broken_turns(NOT_STORED, action, more)
        await self._row.change(action, **more)

    async def _run_turn(self, process: AgentProcess, turn: Turn, batches: Batches) -> None:
        try:
            await turn.run(batches)
        finally:
            process.link.stop_listening(batches)
            self.turn = None
            self.recoveries.add(turn.not_told())
            self._broken = turn.broken
            if has_no_sandbox(turn) and (outcome := self._outcome_of(turn)) is not None:
                self.decide(*outcome)
            self._start_own_turn()

    @property
    def _failure(self) -> AshError | None:
        return None if self._sandbox_end is None else self._sandbox_end.failure

    def _overtaken(self) -> AshError:
        if self._end is not None and self._end[1].get("reason") == "shutdown":
            return Unavailable("The server shut down while the session started: resume it later")
        return Conflict(f"The session was {self.stored.session.status} while it started")

    def _running_process(self) -> AgentProcess:
        process, status = self._sandbox.process, self.stored.session.status
        if status not in {"active", "starting"}:
            raise not_active(status)
        if process is None or status == "starting":
            raise BadRequest("Session is starting or ending")
        if self._pausing:
            raise BadRequest("Session is being paused")
        return process
