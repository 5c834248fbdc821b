"""One turn of a session: a prompt goes in, what the agent does is stored, then shown."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from typing import TypeAlias
from uuid import uuid4

import trio
from msgspec import Raw, Struct

from ash import __version__, events
from ash.clock import Clock, now_iso
from ash.errors import AshError, Conflict, EngineFailed, Unavailable
from ash.events import Ending, Frame
from ash.large_lines import LARGE
from ash.log import get_logger
from ash.model import StoredSession, TurnOrigin, TurnReason
from ash.protocol import (
    BridgeCommand,
    Interrupt,
    OwnTurn,
    Query,
    Recovered,
    Shutdown,
)
from ash.sandbox.link import Batches, TurnEvent, is_last
from ash.sessions.admission import Admission
from ash.sessions.deadlines import Deadlines
from ash.sessions.frame_ring import FrameRing
from ash.sessions.session_sandbox import AgentProcess
from ash.sessions.turn_reader import TurnBatch, TurnReader
from ash.store import OwnershipLost, Store
from ash.store.history import TurnEnd
from ash.store.sessions import StatusChange

log = get_logger()

# How long each step that stops a turn may take before the next one begins. The CLI answers an
# interrupt within 10 ms and stops a tool within 50 ms, so only a stuck one needs the next step.
STEP_SECONDS = 5.0

NO_RESULT = "The agent ended its turn without a result"
SANDBOX_BROKE = "The sandbox broke in the middle of the turn"

# Writes the end of a turn with a change of its session, which is returned if there is one.
WriteEnd: TypeAlias = Callable[[StatusChange | None], Awaitable[StoredSession | None]]


class TurnContext(Struct):
    """What a turn works with. All of it exists longer than the turn.

    `end` stores the end of a turn. It is given a function that writes the end, and calls it with
    the change of the session's status, which only the session knows. `recovered` is what was mended
    since the last turn: the stream has not told of it yet.
    """

    stored: StoredSession
    ring: FrameRing
    store: Store
    clock: Clock
    silence_timeout: float
    end: Callable[["Turn", WriteEnd], Awaitable[None]]
    recovered: Sequence[Recovered] = ()


class Turn:
    """Runs as a task of its sandbox. `finished` is set when nothing more will happen.

    It is begun by a query, or by the agent itself (`OwnTurn`); then nothing is sent. A query that
    yields is stored when the engine has taken it, and refused if the engine has begun a turn of
    its own. `is_own` tells which it is.

    `killed` means that the agent had to be killed because it did not stop, and `broken` that the
    end could not be stored. `lost` says why the sandbox is gone, or None if it is still there.
    `reason` says how it ended, once that is known. `first_frame` and, once known, `last_frame`
    are the ids of its frames in the stream.
    """

    def __init__(self, context: TurnContext, process: AgentProcess, query: Query | OwnTurn) -> None:
        self.id = str(uuid4())
        self._stored_id = 0
        self._rest = TurnBatch()
        self.first_frame = context.ring.next_id
        self.last_frame: int | None = None
        self.finished = trio.Event()
        self.killed = False
        self.broken = False
        self.lost: str | None = None
        self.reason: TurnReason | None = None
        self._context = context
        self._process = process
        self._query = query
        if isinstance(query, Query):
            query.id = self.id
        self._admission = Admission(yields=isinstance(query, Query) and query.yields)
        self._sent = trio.Event()
        self._is_storing_end = False
        self._deadlines = Deadlines()
        self._reader = TurnReader(process.faults)
        self._accepted = trio.Event()
        self._refusal: AshError | None = None
        self._wanted: TurnReason | None = None
        self._hit: str | None = None
        self._began = trio.current_time()

    @property
    def context(self) -> TurnContext:
        return self._context

    async def accepted(self) -> None:
        """Returns when the user's message is stored. If it can't be stored, raises why."""
        await self._accepted.wait()
        if self._refusal is not None:
            raise self._refusal

    async def run(self, batches: Batches) -> None:
        """Runs the turn until its end is stored and shown. Raises nothing but Cancelled."""
        self._process.faults.begin()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_query)
                if not await self._admission.wait(batches):
                    self._refusal = self._admission.refusal
                    self._accepted.set()
                    return
                # Not cancelled: what is stored must be shown, and a turn that begins must end.
                with trio.CancelScope(shield=True), self._deadlines.writing():
                    begun = await self._begin()
                if begun:
                    await self._play(batches)
                else:
                    await self._give_up(batches)
                nursery.cancel_scope.cancel()
        except* Exception:
            log.exception("turn.failed", session=self._session_id)
            self._context.ring.break_off()
            self.broken = True
            self._process.kill()
        finally:
            if not self._accepted.is_set():
                self._refusal = Unavailable(SANDBOX_BROKE)
                self._accepted.set()
            self.finished.set()

    @property
    def is_own(self) -> bool:
        return isinstance(self._query, OwnTurn)

    def not_told(self) -> Sequence[Recovered]:
        """What was mended, for the next turn to tell, if this one was refused or not stored."""
        if self._refusal is None:
            return ()
        early = [event for event in self._admission.early if isinstance(event, Recovered)]
        return [*self._context.recovered, *early]

    def give_way(self) -> bool:
        """Refuses the message for an own turn, if it is not stored yet; whether it is refused."""
        return self._admission.give_way()

    async def stop(self, reason: TurnReason, step: float = STEP_SECONDS) -> None:
        """Ends the turn with `reason`, unless it completes first. Returns when it has ended.

        Interrupts the agent, shuts its engine down `step` seconds later, and kills the sandbox
        after as long again.
        """
        self._wanted = self._wanted or reason
        with self._deadlines.limit(step):
            await self._sent.wait()
            await self._send(Interrupt(turn=self._query.id))
            await self.finished.wait()
        # An agent that stopped at the last moment keeps its sandbox: its end says so already.
        if not self._is_storing_end and not self.finished.is_set():
            await self._kill(step)
        await self.finished.wait()

    async def _kill(self, step: float) -> None:
        """Ends the sandbox; its bridge may still say how the turn ended."""
        # Set first, because the end of the turn may be stored while the bridge still ends.
        self.killed = True
        with self._deadlines.limit(step):
            await self._send(Shutdown())
            await self.finished.wait()
        if not self.finished.is_set():
            self._process.kill()

    @property
    def _session_id(self) -> str:
        return self._context.stored.session.id

    async def _send_query(self) -> None:
        try:
            if isinstance(self._query, Query) and self._admission.refusal is None:
                await self._send(self._query)
        finally:
            self._sent.set()

    async def _send(self, command: BridgeCommand) -> None:
        """Ignores a bridge that is gone: the end of its events says so."""
        with suppress(EngineFailed):
            await self._process.send(command)

    async def _begin(self) -> bool:
        context, query = self._context, self._query
        content = _user_content(query.prompt) if isinstance(query, Query) else None
        origin: TurnOrigin | None = "task" if self.is_own else None
        reserve = context.ring.reservation()
        try:
            self._stored_id = await context.store.begin_turn(
                self._session_id,
                context.stored.generation,
                content,
                start_frame=self.first_frame,
                version=__version__,
                reserve_frames_to=reserve,
                now=now_iso(context.clock),
                origin=origin,
            )
        except OwnershipLost:
            self._refusal = Conflict("The session is no longer active")
        except AshError as error:
            self._refusal = error
        except Exception:
            log.exception("turn.store_failed", session=self._session_id)
            self._refusal = Unavailable("The message could not be stored")
        else:
            context.ring.reserved = reserve or context.ring.reserved
            start = events.session_start(self._session_id, __version__, origin)
            context.ring.publish([start, *map(events.recovered, context.recovered)])
        self._accepted.set()
        return self._refusal is None

    async def _give_up(self, batches: Batches) -> None:
        """Stops the agent, which has the prompt although it could not be stored; shows nothing."""
        if any(map(is_last, self._admission.early)):
            return
        with trio.move_on_after(STEP_SECONDS):
            await self._sent.wait()
            await self._send(Interrupt(turn=self._query.id))
            async for batch in batches:
                if any(map(is_last, batch)):
                    return
        self._process.kill()

    async def _play(self, batches: Batches) -> None:
        try:
            await self._follow(batches)
        except trio.Cancelled:
            self.lost = SANDBOX_BROKE
            with trio.CancelScope(shield=True), self._deadlines.writing():
                await self._end()
            raise
        with trio.CancelScope(shield=True), self._deadlines.writing():
            await self._end()

    async def _follow(self, batches: Batches) -> None:
        """Takes the events of the turn up to its last one, and notes how it ended."""
        timeout = self._context.silence_timeout or inf
        if early := self._admission.early:
            with trio.CancelScope(shield=True), self._deadlines.writing():
                await self._take(early)
            if any(map(is_last, early)):
                return
        with trio.move_on_after(timeout) as silence:
            async for batch in batches:
                # Only the agent's own silence counts, and a write must not be cancelled.
                deadline, silence.deadline = silence.deadline, inf
                with trio.CancelScope(shield=True), self._deadlines.writing():
                    heard = await self._take(batch)
                if any(map(is_last, batch)):
                    return
                silence.deadline = trio.current_time() + timeout if heard else deadline
        if silence.cancelled_caught:
            self._process.kill()
            self.lost = (
                f"The agent was silent for {timeout:g} seconds (turn_silence_timeout),"
                " so its sandbox was ended; resume the session to go on"
            )
        else:
            self.lost = await self._process.exit_reason()

    async def _take(self, batch: Sequence[TurnEvent]) -> bool:
        """Stores the complete messages of the batch, then shows all of its frames in order.

        What comes with the turn's last event is kept, because it is stored together with the end.
        Returns False if the agent only waits for the model.
        """
        context = self._context
        found = self._reader.read(batch, context.ring.next_id)
        if any(map(is_last, batch)):
            self._rest = found
            return found.heard
        reserve = context.ring.reservation()
        if found.entries or reserve:
            await context.store.append(
                self._session_id,
                context.stored.generation,
                found.entries,
                next_frame=reserve,
                conversation=found.conversation,
                now=now_iso(context.clock),
            )
            context.ring.reserved = reserve or context.ring.reserved
        await self._show(found.frames)
        return found.heard

    async def _end(self) -> None:
        context = self._context
        ending = self._verdict()
        if self.lost is None and self._process.dying:
            self.lost = ending.error or await self._process.exit_reason()
        frames = [*self._rest.frames, events.done(self._session_id, ending.reason)]
        if ending.error is not None:
            frames.insert(-1, events.error(ending.error))
        end = TurnEnd(ending.reason, context.ring.next_id + len(frames) - 1, ending.error)
        now = now_iso(context.clock)

        async def write(status: StatusChange | None) -> StoredSession | None:
            return await context.store.end_turn(
                self._stored_id,
                self._session_id,
                context.stored.generation,
                end,
                entries=self._rest.entries,
                conversation=self._rest.conversation,
                now=now,
                status=status,
            )

        self.reason, self._is_storing_end = ending.reason, True
        # Stored with the session's new status, so that the frame `done` is true when it is shown.
        await context.end(self, write)
        self.last_frame = end.frame
        await self._show(frames)
        if ending.reason == "error":
            self._log_error()

    async def _show(self, frames: Sequence[Frame]) -> None:
        """Each large frame takes a while, so others get their turn before it."""
        small: list[Frame] = []
        for frame in frames:
            if len(frame.data) > LARGE:
                self._context.ring.publish(small)
                await trio.lowlevel.cancel_shielded_checkpoint()
                self._context.ring.publish([frame])
                small = []
            else:
                small.append(frame)
        self._context.ring.publish(small)

    def _log_error(self) -> None:
        """Logs no text that the agent or the model may have written: the timeline has the error."""
        fault = self._process.faults.last
        # Without a status nothing was answered, so the fault's words are our own.
        unanswered = fault.error if fault is not None and fault.status is None else None
        log.warning(
            "turn.ended_in_error",
            **self._context.stored.session.names,
            turn=self.id,
            seconds=round(trio.current_time() - self._began, 3),
            why=self._hit or self.lost or unanswered,
            model_status=None if fault is None else fault.status,
        )

    def _verdict(self) -> Ending:
        """A limit that was hit explains the end first, then a stop, unless the turn completed."""
        if hit := self._process.take_limit_report():
            self._hit = hit
            return Ending("error", hit)
        found = self._reader.ending or Ending("error", NO_RESULT)
        # What was lost is not made good by what came before or after it.
        if (error := self._reader.fault or self.lost) is not None:
            found = Ending("error", error)
        completed = found.reason == "completed" and not found.interim
        if self._wanted is None or completed:
            return found
        return Ending(self._wanted)


def _user_content(prompt: Raw) -> str:
    return f'{{"type":"user","content":{str(prompt, "utf-8")}}}'
