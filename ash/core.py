"""Makes store, pool, sandboxes and sessions, and connects them.

The daemon and `ash.Ash` open this core, and add HTTP or a Python API.
"""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import trio
from msgspec import Struct

from ash import __version__
from ash.agents import Agents
from ash.clock import SystemClock
from ash.config import Settings
from ash.egress import Policy, parse
from ash.errors import StartError
from ash.limits import FreeSpace, Limits, ResourceGroups, SpaceAlarm, open_resource_groups
from ash.log import get_logger
from ash.model import StoredAgent
from ash.pool.pool import Capacity, Pool
from ash.recovery import recover
from ash.requests.large_messages import MessageReader
from ash.sandbox.process import Spawner
from ash.sandbox.runtime import find_runtime, model_upstream
from ash.sandbox.sandbox import SandboxDependencies
from ash.sandbox.sandbox_process import Runtime
from ash.sandbox.trial import Trial
from ash.sessions.dependencies import SessionDependencies, StoredSandboxRecords
from ash.sessions.files import SessionFiles
from ash.sessions.service import Sessions
from ash.sessions.session_spec import ServerRules
from ash.sessions.snapshots import SessionSnapshots, open_session_snapshots
from ash.store import Store, open_store
from ash.workspaces.workspaces import Workspaces

log = get_logger()

# Anybody may ask for the daemon's health; the log has the paths of the machine.
_HOST_PATH = re.compile(r"/[\w.@:/-]+")

# The owner of sessions in the store. There is one server, which finds them again after a restart.
OWNER = "standalone"

# How long ending the sandboxes and closing the store may take after the grace of the turns.
CLOSE_SECONDS = 4.0

# How much of that uploads may take; the next start uploads the rest.
UPLOAD_SECONDS = 2.0


class Core(Struct, frozen=True):
    """The running parts of a server. Tasks that use them belong into `nursery`."""

    settings: Settings
    store: Store
    runtime: Runtime
    pool: Pool
    agents: Agents
    sessions: Sessions
    files: SessionFiles
    snapshots: SessionSnapshots | None
    space: FreeSpace
    message_reader: MessageReader
    nursery: trio.Nursery
    opened_at: float

    async def wind_down(
        self, before_end: Callable[[], Awaitable[object]] = trio.lowlevel.checkpoint
    ) -> None:
        """Ends turns as `shutdown`, pauses their sessions, then cancels the nursery.

        Waits for `before_end` before the cancel. It takes at most CLOSE_SECONDS more than the
        grace; then everything is cancelled.
        """
        grace, scope = self.settings.grace_seconds, self.nursery.cancel_scope
        scope.deadline = trio.current_time() + grace + CLOSE_SECONDS
        await self.sessions.shut_down(grace)
        if self.snapshots is not None:
            with trio.move_on_after(UPLOAD_SECONDS):
                await self.snapshots.uploader.settled()
        await before_end()
        scope.cancel()

    def health(self) -> dict[str, Any]:
        """The answer to `GET /health`; its cost does not grow with the number of sessions."""
        stats, runtime = self.pool.stats(), self.runtime
        return {
            "status": "ok",
            "version": __version__,
            "coordinatorId": OWNER,
            "activeSessions": stats.waiting + stats.running,
            "activeSandboxes": stats.total - stats.cold,
            "remoteRunners": 0,
            "uptime": int(trio.current_time() - self.opened_at),
            "pool": stats,
            "disk": self.space.health(),
            "engine": runtime.engine,
            "isolation": {
                "level": self.settings.isolation,
                "name": runtime.isolation.name,
                "limits": runtime.groups.name,
                "missing": [_HOST_PATH.sub("…", text) for text in self.missing],
            },
        }

    @property
    def missing(self) -> list[str]:
        """Features of sandboxes that this machine lacks, in words."""
        return [*self.runtime.isolation.missing, *self.runtime.groups.missing]


@asynccontextmanager
async def open_core(settings: Settings, *, systemd: bool) -> AsyncIterator[Core]:
    """Recovers from a crash and starts the core, in a data directory that the caller has locked.

    With `systemd`, this process may be moved to a systemd scope of its own if limits can't be set
    otherwise. Leaving the block cancels all tasks; call `wind_down` before to end them properly.
    Raises StartError, in exception groups.
    """
    data_dir = settings.data_dir.absolute()
    with closing(Spawner()) as spawner:
        async with (
            open_store(data_dir / "ash.db") as store,
            open_resource_groups(data_dir, systemd=systemd) as groups,
            model_upstream(settings) as upstream,
            _snapshots(settings, store) as snapshots,
        ):
            _check_limits(settings, groups)
            runtime = await find_runtime(settings, spawner, groups, upstream)
            await recover(store, data_dir, OWNER, SystemClock())
            async with trio.open_nursery() as nursery:
                yield _start(settings, store, runtime, snapshots, nursery)
                nursery.cancel_scope.cancel()


def _check_limits(settings: Settings, groups: ResourceGroups) -> None:
    if groups.missing and settings.effective_limits == "strict":
        raise StartError(
            f"limits are strict, but {'; '.join(groups.missing)}. Run ashd as root or in a"
            " delegated cgroup (docs/security.md). Or start without: ASH_LIMITS=best-effort"
        )


def _start(
    settings: Settings,
    store: Store,
    runtime: Runtime,
    snapshots: SessionSnapshots | None,
    nursery: trio.Nursery,
) -> Core:
    data_dir, clock = settings.data_dir.absolute(), SystemClock()
    space = FreeSpace(data_dir, settings.disk_free_mb)
    sandbox_dependencies = SandboxDependencies(
        runtime,
        Workspaces(data_dir),
        settings.engine_start_timeout,
        settings.script_timeout,
        snapshots=snapshots,
        space=space,
    )
    capacity = Capacity(settings.max_sandboxes, settings.max_warm, settings.parallel_starts)
    pool = Pool(sandbox_dependencies, StoredSandboxRecords(store, OWNER, clock), nursery, capacity)
    dependencies = SessionDependencies(
        store=store,
        pool=pool,
        clock=clock,
        owner=OWNER,
        rules=_rules(settings),
        silence_timeout=settings.turn_silence_timeout,
        large_lines=runtime.large_lines,
        snapshots=snapshots,
    )
    sessions, message_reader = Sessions(dependencies, nursery), MessageReader()
    alarm = SpaceAlarm(space, runtime.disk, works=lambda: pool.stats().running > 0)
    tasks = [runtime.disk.run, runtime.large_lines.run, alarm.run, message_reader.run]
    tasks += [pool.run, sessions.sweep]
    if snapshots is not None:
        tasks += [snapshots.add_all, snapshots.uploader.run]
    for task in tasks:
        nursery.start_soon(task)
    return Core(
        settings=settings,
        store=store,
        runtime=runtime,
        pool=pool,
        agents=_agents(
            store,
            data_dir,
            sessions,
            pool,
            snapshots,
            network=dependencies.rules.network,
            trial=Trial(sandbox_dependencies, dependencies.rules.limits),
            disk_mb=settings.sandbox_disk_mb,
            space=space,
        ),
        sessions=sessions,
        files=SessionFiles(
            store,
            sandbox_dependencies.workspaces,
            runtime.disk.look_again,
            dependencies.limits_of,
            space,
        ),
        snapshots=snapshots,
        space=space,
        message_reader=message_reader,
        nursery=nursery,
        opened_at=trio.current_time(),
    )


def _agents(
    store: Store,
    data_dir: Path,
    sessions: Sessions,
    pool: Pool,
    snapshots: SessionSnapshots | None,
    *,
    network: Policy,
    trial: Trial,
    disk_mb: int,
    space: FreeSpace,
) -> Agents:
    """The agents; a deploy or delete also updates warm sandboxes and snapshots."""

    def on_deploy(stored: StoredAgent) -> None:
        sessions.keep_warm(stored)
        if snapshots is not None:
            snapshots.agent_changed(stored.agent.tenant_id, stored.agent.name)

    def on_delete(tenant: str, name: str) -> None:
        pool.stop_keeping_warm(tenant, name)
        if snapshots is not None:
            snapshots.agent_changed(tenant, name)

    return Agents(
        store,
        data_dir,
        SystemClock(),
        on_deploy,
        on_delete,
        network=network,
        trial=trial,
        disk_mb=disk_mb,
        space=space,
    )


def _rules(settings: Settings) -> ServerRules:
    return ServerRules(
        permission_mode=settings.permission_mode,
        idle_timeout=settings.idle_timeout_ms / 1000,
        background_limit=settings.background_timeout_ms / 1000,
        auto_resume=settings.auto_resume,
        pre_warm=settings.pre_warm_count,
        limits=Limits(
            memory_mb=settings.sandbox_memory_mb,
            cpu_percent=settings.sandbox_cpu_percent,
            disk_mb=settings.sandbox_disk_mb,
            max_processes=settings.sandbox_max_processes,
        ),
        network=_network(settings),
    )


def _network(settings: Settings) -> Policy:
    try:
        return parse(list(settings.network))
    except ValueError as error:
        raise StartError(f"network: {error}") from None


def _snapshots(
    settings: Settings, store: Store
) -> AbstractAsyncContextManager[SessionSnapshots | None]:
    return open_session_snapshots(
        settings.snapshot_url,
        store,
        settings.data_dir.absolute(),
        SystemClock(),
        owner=OWNER,
        disk_mb=settings.sandbox_disk_mb,
    )
