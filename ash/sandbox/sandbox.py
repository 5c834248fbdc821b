"""A sandbox with a booted engine, from its first file to its last process."""

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import trio
from msgspec import Raw, Struct, structs

from ash.egress import Egress, Policy
from ash.errors import AshError, EngineFailed, NotFound, Unavailable
from ash.folder_check.remembered import deployed_faults
from ash.limits import FreeSpace, Limits
from ash.limits.disk_limit import check_agent
from ash.log import get_logger
from ash.model import LogLevel, LogSink
from ash.sandbox.boot import Boot, EngineLaunch, RestoredFrom
from ash.sandbox.environment import own_part, with_name
from ash.sandbox.link import Remember
from ash.sandbox.logs import SessionLogWriter
from ash.sandbox.network import SandboxNetwork
from ash.sandbox.sandbox_process import Runtime, SandboxProcess, open_sandbox_process
from ash.workspaces.disk_errors import disk_refusal
from ash.workspaces.mend import mend
from ash.workspaces.mend_settings import mend_settings
from ash.workspaces.workspaces import HostPaths, Workspaces

log = get_logger()

SandboxState = Literal["warming", "warm", "waiting", "running"]

# How many lines are kept of a sandbox that has no session yet.
EARLY_LINES = 1000

__all__ = ["EngineLaunch", "RestoredFrom"]


class PoolKey(Struct, frozen=True):
    """Sandboxes of one kind and with the same limits can stand in for each other."""

    tenant: str
    agent: str
    version: int


class SandboxSpec(Struct, frozen=True, kw_only=True):
    """What a sandbox is made from. Every process in it gets `env`.

    With `restore` it starts with the files that were kept of the last sandbox with its id.
    """

    key: PoolKey
    source: Path
    env: dict[str, str]
    limits: Limits
    network: Policy
    restore: bool = False


class SnapshotFiles(Protocol):
    """Gets files of sessions and agents that are missing on this disk."""

    async def bring(self, spec: SandboxSpec, session_id: str) -> bool:
        """Returns whether it got files of the session. Raises AshError."""


class Opener(Protocol):
    """`open_sandbox_process`, or what stands in for it."""

    def __call__(
        self,
        runtime: Runtime,
        paths: HostPaths,
        env: Mapping[str, str],
        *,
        limits: Limits,
        egress: Egress,
        log: LogSink,
    ) -> AbstractAsyncContextManager[SandboxProcess]: ...


class SandboxDependencies(Struct, frozen=True):
    """What all sandboxes of a daemon are made with."""

    runtime: Runtime
    workspaces: Workspaces
    start_timeout: float
    script_timeout: float
    open: Opener = open_sandbox_process
    snapshots: SnapshotFiles | None = None
    space: FreeSpace = FreeSpace(Path("/"))


class SandboxEnd(Struct, frozen=True):
    """`failure` says why it died, None if it was closed. `kept`: its files still exist."""

    failure: AshError | None
    kept: bool


class Sandbox:
    """Runs as one task of the pool, which sets `claimed` and `kept`.

    `ready` is set when the engine is booted or has failed to boot; `failure` says why. `gone` is
    set when its processes have ended and its files were put away; `kept` says whether any were
    kept for a session. `faults` are those of its agent, if that was deployed by force. `used_at` is
    when its boot or its last work ended, in trio's time.
    """

    def __init__(
        self,
        sandbox_id: str,
        spec: SandboxSpec,
        dependencies: SandboxDependencies,
        counts: Counter[SandboxState],
    ) -> None:
        """`counts` has the number of sandboxes in each state. This one counts until it is gone."""
        self.id = sandbox_id
        self.spec = spec
        self.claimed = False
        self.source: RestoredFrom = "fresh"
        self._local: RestoredFrom = "local"
        self._dependencies = dependencies
        self._counts = counts
        self._state: SandboxState = "warming"
        self._counts["warming"] += 1
        self.used_at = 0.0
        self._turn_ended: trio.Event | None = None
        self._works = 0
        self._evict: Callable[[], Awaitable[bool]] | None = None
        self.ready = trio.Event()
        self.gone = trio.Event()
        self.kept = False
        self.failure: AshError | None = None
        self._process: SandboxProcess | None = None
        self._booted_with: EngineLaunch | None = None
        self._closing = trio.Event()
        self._boot = trio.CancelScope()
        self.faults: list[str] = []
        self._network = SandboxNetwork(dependencies.runtime, spec.network, spec.env, self.log)
        self._journal: SessionLogWriter | None = None
        self._remember: Remember | None = None
        self._mended: list[str] = []
        self._early: deque[tuple[LogLevel, str]] = deque(maxlen=EARLY_LINES)

    async def fetch(self) -> None:
        """Before `run`: gets files that are not on this disk. If it can't, sets `failure`."""
        if self._dependencies.snapshots is not None:
            try:
                if await self._dependencies.snapshots.bring(self.spec, self.id):
                    self._local = "cloud"
            except Exception as error:  # noqa: BLE001 - one sandbox must not take the others along
                self.fail(error)

    async def run(self, settings: EngineLaunch) -> None:
        """Raises nothing but Cancelled; `failure` stays None if it was closed.

        The caller has to call `forget` afterwards.
        """
        dependencies, spec = self._dependencies, self.spec
        try:
            paths = await trio.to_thread.run_sync(self._prepare)
            await trio.to_thread.run_sync(self._network.read_servers, spec.source)
            if not spec.restore:
                self.faults = await trio.to_thread.run_sync(deployed_faults, spec.source, spec.env)
            await self.log([("system", f"deployed by force: {fault}") for fault in self.faults])
            self._network.open_for(settings)
            async with dependencies.open(
                dependencies.runtime,
                paths,
                with_name(spec.env, spec.key.agent),
                limits=spec.limits,
                egress=self._network.egress,
                log=self.log,
            ) as process:
                process.link.remember = self._remembered
                process.link.note_mended(self._mended)
                await self.log([("system", text) for text in self._mended])
                await self._run_engine(process, paths, self._with_own_id(settings))
        except* Exception as group:  # noqa: BLE001 - one sandbox must not take the others along
            self.fail(_first(group))
        finally:
            self._process = None
            put_away = partial(dependencies.workspaces.put_away, self.id, claimed=self.claimed)
            with trio.CancelScope(shield=True):
                self.kept = await trio.to_thread.run_sync(put_away)

    async def bind(self, settings: EngineLaunch) -> None:
        """Opens the engine with the session's settings, unless it was opened with the same.

        Raises EngineFailed, and Unavailable if the sandbox is gone.
        """
        if self._process is None:
            raise self.failure or Unavailable("The sandbox was closed before it was of use")
        self._network.open_for(settings)
        if lines := self._network.unreachable(settings):
            await self.log([("system", line) for line in lines])
        settings = self._with_own_id(settings)
        if settings != self._booted_with:
            timeout = self._dependencies.start_timeout
            with trio.move_on_after(timeout) as patience:
                await self._process.link.open(settings)
            # An agent can stop its own bridge while it waits for a session.
            if patience.cancelled_caught:
                raise EngineFailed(f"The engine did not start within {timeout:g} seconds")
            self._booted_with = settings

    def activate(self, evict: Callable[[], Awaitable[bool]]) -> None:
        """Its session is active: it is idle from now on; `evict` gives it up, if it may."""
        self._evict = evict
        if not self._works:
            self._rest()

    def start(self, work: Callable[[], Awaitable[None]], *, is_turn: bool = False) -> None:
        """Runs `work` as a task of the process; the sandbox is `running` until that ends.

        A sandbox that ends waits for its turn. It cancels other work.
        """
        assert self._process is not None
        if is_turn:
            self._turn_ended = trio.Event()
        self._works += 1
        self._change_state("running")
        self._process.nursery.start_soon(self._work, work, self._turn_ended if is_turn else None)

    async def evict(self) -> bool:
        """Gives it up if its session can do without; whether it did."""
        return self._evict is not None and await self._evict()

    async def attach(self, sink: LogSink, remember: Remember | None = None) -> None:
        """Sends the log to `sink` from now on, beginning with the lines that were kept."""
        self._remember = remember
        early, self._early = list(self._early), deque()
        self._journal = SessionLogWriter(sink, self.id)
        await self._journal.write(early)

    async def _remembered(self) -> list[Raw]:
        return [] if self._remember is None else await self._remember()

    async def log(self, lines: Sequence[tuple[LogLevel, str]]) -> None:
        """Raises nothing but Cancelled: see `SessionLogWriter`."""
        if self._journal is None:
            self._early.extend(lines)
        else:
            await self._journal.write(lines)

    def fail(self, error: Exception) -> None:
        """Notes why the sandbox can't be used any more."""
        error = disk_refusal(error) or error
        if not isinstance(error, AshError):
            log.error("sandbox.failed", sandbox=self.id, exc_info=error)
            error = EngineFailed("The sandbox broke")
        self.failure = error

    def forget(self) -> None:
        """Called by the pool when the sandbox has ended, or was never started."""
        self._counts[self._state] -= 1
        self.ready.set()
        self.gone.set()

    def close(self, failure: Exception | None = None) -> None:
        """Asks `run` to end, and says why if it has failed; `gone` says when it has."""
        if failure is not None:
            self.fail(failure)
        self._closing.set()
        self._boot.cancel()

    async def ended(self) -> SandboxEnd:
        """Returns when it is `gone`."""
        await self.gone.wait()
        return SandboxEnd(self.failure, self.kept)

    async def cancel_when_closed(self, scope: trio.CancelScope) -> None:
        await _then_cancel(self._closing, scope)

    @property
    def state(self) -> SandboxState:
        return self._state

    @property
    def alive(self) -> bool:
        return self._process is not None and not self._process.dying

    @property
    def process(self) -> SandboxProcess | None:
        """None while no work can begin: before it is booted, and once it dies or is closed."""
        return self._process if self.alive and not self.closing else None

    @property
    def idle_since(self) -> float | None:
        """When its last work ended, in trio's time; None if it is busy or closed."""
        return self.used_at if self._state == "waiting" and not self.closing else None

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    def _change_state(self, state: SandboxState) -> None:
        if not self.gone.is_set():
            self._counts[self._state] -= 1
            self._counts[state] += 1
            self._state = state

    def _rest(self) -> None:
        self._change_state("waiting")
        self.used_at = trio.current_time()

    async def _work(
        self, work: Callable[[], Awaitable[None]], turn_ended: trio.Event | None
    ) -> None:
        try:
            await work()
        finally:
            self._works -= 1
            if turn_ended is not None:
                turn_ended.set()
            if not self._works:
                self._rest()

    def _with_own_id(self, settings: EngineLaunch) -> EngineLaunch:
        """With the sandbox's id, which its session will have, so that a warm engine knows it."""
        own = own_part(settings.extra_env)
        return structs.replace(settings, session_id=self.id, extra_env=own)

    async def _run_engine(
        self, process: SandboxProcess, paths: HostPaths, settings: EngineLaunch
    ) -> None:
        try:
            with self._boot:
                await self._boot_of(process, paths).run(settings)
        except EngineFailed as error:
            # Before the clean-up, so that nobody claims it during that.
            self.fail(error)
        if self.failure is not None or self._boot.cancelled_caught:
            return
        self._process, self._booted_with = process, settings
        self._change_state("warm")
        self.used_at = trio.current_time()
        self.ready.set()
        process.nursery.start_soon(self._watch_engine, process)
        await _first_of(self._closing, process.died)
        self._process = None
        if self._turn_ended is not None:
            await self._turn_ended.wait()
        if not self._closing.is_set():
            self.failure = EngineFailed(await process.exit_reason())

    async def _watch_engine(self, process: SandboxProcess) -> None:
        """Closes an unclaimed sandbox whose engine dies; a session's next turn starts it again."""
        while True:
            why = await process.link.engine_gone()
            if not self.claimed:
                self.fail(EngineFailed(why))
                self.close()
                return
            await self.log([("system", why)])

    def _boot_of(self, process: SandboxProcess, paths: HostPaths) -> Boot:
        times = self._dependencies
        return Boot(
            process, paths, self.source, times.start_timeout, times.script_timeout, self.log
        )

    def _prepare(self) -> HostPaths:
        workspaces = self._dependencies.workspaces
        self._dependencies.space.check()
        if self.spec.restore and (kept := workspaces.restore(self.id)):
            self.source = self._local
            self._mended = mend(kept) + mend_settings(kept.workspace, self.spec.source)
            return kept
        if not self.spec.source.is_dir():
            key = self.spec.key
            raise NotFound(
                f"The files of this session are gone, and so is version {key.version} of its agent"
                f' "{key.agent}"'
            )
        check_agent(self.spec.source, self.spec.limits.disk_mb)
        return workspaces.prepare(self.id, self.spec.source)


async def _first_of(*events: trio.Event) -> None:
    async with trio.open_nursery() as nursery:
        for event in events:
            nursery.start_soon(_then_cancel, event, nursery.cancel_scope)


async def _then_cancel(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    """The first real error in a group of groups."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
