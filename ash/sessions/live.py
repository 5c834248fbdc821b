"""A session that runs in this daemon."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
import trio
from msgspec import Struct

from ash.clock import Clock, now_iso
from ash.errors import AshError, BadRequest, Conflict, EngineFailed, Unavailable
from ash.lifecycle import CHANGES, Action
from ash.model import LogLevel, StoredSession
from ash.protocol import Open, Query
from ash.sandbox.sandbox import Runtime, Sandbox, open_sandbox
from ash.sandbox.workspace import Workspaces
from ash.sessions.counts import Counts
from ash.sessions.stream import Stream
from ash.sessions.turn import Room, Turn
from ash.store import Store

log = structlog.stdlib.get_logger()


class Recipe(Struct, frozen=True):
    """What a session's sandbox is made from."""

    source: Path
    env: dict[str, str]
    settings: Open


class House(Struct, frozen=True):
    """What all live sessions share."""

    store: Store
    runtime: Runtime
    workspaces: Workspaces
    clock: Clock
    counts: Counts
    start_timeout: float
    silence_timeout: float


class Live:
    """Owns its sandbox, through it the turn, and its stream.

    `settled` is set when the engine is booted or has failed to; `failure` then says why.
    `gone` is set when nothing of it is left but what was stored.
    """

    def __init__(self, house: House, stored: StoredSession) -> None:
        self.stored = stored
        self.stream = Stream(stored.next_frame)
        self.turn: Turn | None = None
        self.settled = trio.Event()
        self.failure: AshError | None = None
        self.gone = trio.Event()
        self._house = house
        self._sandbox: Sandbox | None = None
        self._closing = trio.Event()
        self._boot = trio.CancelScope()

    async def run(self, recipe: Recipe) -> None:
        """The sandbox's whole life, and what is stored of it. Raises nothing but Cancelled."""
        session_id = self.stored.session.id
        workspaces = self._house.workspaces
        try:
            place = await trio.to_thread.run_sync(workspaces.prepare, session_id, recipe.source)
            async with open_sandbox(self._house.runtime, place, recipe.env, self.log) as sandbox:
                await self._live_in(sandbox, recipe.settings)
        except* Exception as group:  # noqa: BLE001 - one sandbox must not take the others along
            self.failure = self._explain(_first(group))
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(workspaces.keep, session_id)
        if self.failure is not None:
            await self.change("fail", error=self.failure.text)
        self.settled.set()
        self.gone.set()

    def start_turn(self, query: Query) -> Turn:
        """Raises BadRequest if the session is not up, Conflict while a turn runs."""
        if self._sandbox is None:
            raise BadRequest("Session is starting or ending")
        if self.turn is not None:
            raise Conflict("A turn is running in this session: wait for its done, or interrupt it")
        house = self._house
        room = Room(self.stored, self.stream, house.store, house.clock, house.silence_timeout)
        self.turn = turn = Turn(room, self._sandbox, query)
        self._sandbox.nursery.start_soon(self._run_turn, self._sandbox, turn)
        return turn

    def close(self) -> None:
        """Asks `run` to end; it does once a turn that still runs has ended."""
        self._closing.set()
        self._boot.cancel()

    async def change(self, action: Action, **more: str) -> None:
        """Stores the new status with its lifecycle event, unless another was faster."""
        target = CHANGES[action].target
        changed = await self._house.store.change_session(
            self.stored.session.id,
            CHANGES[action],
            now_iso(self._house.clock),
            event=lifecycle_event("created" if action == "activate" else target, **more),
            generation=self.stored.generation,
        )
        self.stored = changed or self.stored

    async def log(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        now = now_iso(self._house.clock)
        await self._house.store.append_logs(
            self.stored.session.id, [(level, text, now) for level, text in lines]
        )

    def _explain(self, error: Exception) -> AshError:
        if isinstance(error, AshError):
            return error
        log.error("sandbox_broken", session=self.stored.session.id, exc_info=error)
        return EngineFailed("The sandbox broke")

    async def _live_in(self, sandbox: Sandbox, settings: Open) -> None:
        with self._boot:
            await self._start_engine(sandbox, settings)
            await self.change("activate")
        if self._boot.cancelled_caught and self.failure is None:
            self.failure = Unavailable("The session was closed while it was starting")
        if self.failure is not None:
            return
        self._sandbox = sandbox
        self.settled.set()
        await _first_of(self._closing, sandbox.died)
        self._sandbox = None
        if self.turn is not None:
            await self.turn.finished.wait()
        if not self._closing.is_set():
            self.failure = EngineFailed(await sandbox.epitaph())

    async def _start_engine(self, sandbox: Sandbox, settings: Open) -> None:
        """Raises EngineFailed."""
        begun = trio.current_time()
        timeout = self._house.start_timeout
        with trio.move_on_after(timeout) as start:
            try:
                await sandbox.link.ready.wait()
                bridge = trio.current_time()
                await sandbox.link.open(settings)
            except EngineFailed:
                if sandbox.died.is_set():
                    raise EngineFailed(await sandbox.epitaph()) from None
                raise
        if start.cancelled_caught:
            raise EngineFailed(f"The engine did not start within {timeout:g} seconds")
        engine = trio.current_time() - bridge
        text = f"started: bridge {bridge - begun:.3f} s, engine {engine:.3f} s"
        await self.log([("system", text)])

    async def _run_turn(self, sandbox: Sandbox, turn: Turn) -> None:
        self._house.counts.running += 1
        try:
            async with sandbox.link.turn() as batches:
                await turn.run(batches)
        finally:
            self.turn = None
            self._house.counts.running -= 1


async def _first_of(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_then_cancel, event, nursery.cancel_scope)


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def lifecycle_event(action: str, **more: str) -> str:
    """The data of a `lifecycle` event of the timeline."""
    return msgspec.json.encode({"action": action, **more}).decode()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """The first real error in a group of groups."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
