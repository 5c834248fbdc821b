"""Puts the tree together. The only place that knows everything."""

import fcntl
import os
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import structlog
import trio

from ash import __version__
from ash.agents import Agents
from ash.clock import SystemClock, now_iso
from ash.config import Settings
from ash.errors import StartError
from ash.http.app import make_app
from ash.http.cors import Cors
from ash.http.front import Front
from ash.http.listeners import open_listeners
from ash.http.server import serve
from ash.http.services import Health, Services
from ash.keys import Keys, load_secret
from ash.model import StoredAgent
from ash.sandbox.box import Workshop
from ash.sandbox.egress import ModelUpstream, Policy, credentials, parse
from ash.sandbox.isolation import detect
from ash.sandbox.limits import Cages, DiskSweep, Limits, open_cages
from ash.sandbox.pool import Capacity, Pool
from ash.sandbox.process import Spawner
from ash.sandbox.reaper import reap_orphans
from ash.sandbox.sandbox import Runtime
from ash.sandbox.workspace import Workspaces
from ash.sessions.cloud import Cloud
from ash.sessions.cloud_opening import open_cloud
from ash.sessions.files import Files
from ash.sessions.house import House
from ash.sessions.ledger import StoreLedger
from ash.sessions.recipe import Rules
from ash.sessions.service import Sessions
from ash.store import Store, open_store
from ash.tickets import Tickets

log = structlog.stdlib.get_logger()

# Sessions of a daemon that stands alone are found again under this name after a restart.
OWNER = "standalone"

# What ending sandboxes and closing the store may take after the turns had their grace.
CLOSE_SECONDS = 4.0

# What uploads may take of that; what is left of them is due at the next start.
UPLOAD_SECONDS = 2.0


async def run(settings: Settings) -> None:
    """The daemon's whole life. Raises StartError, whose text is all its user needs."""
    data_dir = settings.data_dir.absolute()
    _take_descriptors()
    with _owned(data_dir), closing(Spawner()) as spawner:
        async with (
            _listening(settings) as listeners,
            open_store(data_dir / "ash.db") as store,
            open_cages(data_dir) as cages,
            _upstream(settings) as upstream,
            _cloud(settings, store) as cloud,
        ):
            runtime = await _runtime(settings, spawner, cages, upstream)
            await _recover(store, Workspaces(data_dir))
            await store.settle_sandboxes(OWNER, now_iso(SystemClock()))
            secret = await trio.to_thread.run_sync(load_secret, data_dir)
            keys = Keys(store, secret, SystemClock())
            key_file = await keys.load(data_dir, settings.api_key)
            url = _url(settings, listeners)
            print(_start_line(settings, url, runtime), flush=True)  # noqa: T201 - for its user
            log.info("daemon.started", url=url, key_file=str(key_file) if key_file else None)
            tickets = Tickets(secret, SystemClock())
            await _serve(settings, store, runtime, keys, listeners, tickets=tickets, cloud=cloud)
    log.info("daemon.stopped")


async def _serve(
    settings: Settings,
    store: Store,
    runtime: Runtime,
    keys: Keys,
    listeners: list[trio.SocketListener],
    *,
    tickets: Tickets,
    cloud: Cloud | None,
) -> None:
    """The tree: HTTP and the sessions below one nursery, until a signal says stop."""
    data_dir, clock = settings.data_dir.absolute(), SystemClock()
    workshop = Workshop(
        runtime,
        Workspaces(data_dir),
        settings.engine_start_timeout,
        settings.script_timeout,
        cloud=cloud,
    )
    capacity = Capacity(settings.max_sandboxes, settings.max_warm, settings.parallel_starts)
    rules = Rules(
        permission_mode=settings.permission_mode,
        idle_timeout=settings.idle_timeout_ms / 1000,
        pre_warm=settings.pre_warm_count,
        limits=Limits(
            memory_mb=settings.sandbox_memory_mb,
            cpu_percent=settings.sandbox_cpu_percent,
            disk_mb=settings.sandbox_disk_mb,
            max_processes=settings.sandbox_max_processes,
        ),
        network=_network(settings),
    )
    draining = trio.Event()
    async with trio.open_nursery() as nursery:
        pool = Pool(workshop, StoreLedger(store, OWNER, clock), nursery, capacity)
        house = House(
            store=store,
            pool=pool,
            clock=clock,
            owner=OWNER,
            rules=rules,
            silence_timeout=settings.turn_silence_timeout,
            cloud=cloud,
        )
        sessions = Sessions(house, nursery)
        agents = _agents(store, data_dir, sessions, pool, cloud)
        files = Files(store, workshop.workspaces)
        health = _health(settings, runtime, pool)
        services = Services(agents, sessions, files, keys, tickets, health)
        app = Cors(Front(services, make_app(services)), settings.allowed_origins)
        http = partial(serve, app, listeners, draining=draining, grace=settings.grace_seconds)
        nursery.start_soon(reap_orphans, runtime.spawner)
        nursery.start_soon(runtime.disk.run)
        nursery.start_soon(pool.run)
        nursery.start_soon(sessions.sweep)
        if cloud is not None:
            nursery.start_soon(cloud.add_all)
            nursery.start_soon(cloud.uploader.run)
        answered = trio.Event()
        nursery.start_soon(_answer, http, answered)
        grace = settings.grace_seconds
        wind_down = partial(_wind_down, sessions, cloud, grace, answered, nursery.cancel_scope)
        await _stop_on_signals(nursery, draining, grace, wind_down)


def _agents(
    store: Store, data_dir: Path, sessions: Sessions, pool: Pool, cloud: Cloud | None
) -> Agents:
    """Warm sandboxes and backups follow what is deployed."""

    def on_deploy(stored: StoredAgent) -> None:
        sessions.keep_warm(stored)
        if cloud is not None:
            cloud.agent_changed(stored.agent.tenant_id, stored.agent.name)

    def on_delete(tenant: str, name: str) -> None:
        pool.unstock(tenant, name)
        if cloud is not None:
            cloud.agent_changed(tenant, name)

    return Agents(store, data_dir, SystemClock(), on_deploy, on_delete)


async def _answer(http: Callable[[], Awaitable[None]], answered: trio.Event) -> None:
    try:
        await http()
    finally:
        answered.set()


async def _wind_down(
    sessions: Sessions,
    cloud: Cloud | None,
    grace: float,
    answered: trio.Event,
    tree: trio.CancelScope,
) -> None:
    """Ends the sessions; who still reads of their end has what is left of the grace for it."""
    await sessions.shut_down(grace)
    if cloud is not None:
        with trio.move_on_after(UPLOAD_SECONDS):
            await cloud.uploader.settled()
    await answered.wait()
    tree.cancel()


async def _stop_on_signals(
    nursery: trio.Nursery,
    draining: trio.Event,
    grace: float,
    wind_down: Callable[[], Awaitable[None]],
) -> None:
    """Waits for the first signal, then ends the tree; a second one skips the waiting."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if draining.is_set():
                log.warning("daemon.stopping_now", signal=number)
                nursery.cancel_scope.cancel()
                return
            log.info("daemon.stopping", signal=number, grace=grace)
            draining.set()
            nursery.cancel_scope.deadline = trio.current_time() + grace + CLOSE_SECONDS
            nursery.start_soon(wind_down)


async def _runtime(
    settings: Settings, spawner: Spawner, cages: Cages, upstream: ModelUpstream
) -> Runtime:
    given: dict[str, str] = {}
    readable: tuple[Path, ...] = ()
    if settings.engine != "scripted":
        cli = _cli(settings)
        given["CLAUDE_CODE_EXECUTABLE"] = str(cli)
        readable = (_program(cli),)
    find = partial(
        detect,
        settings.effective_isolation,
        readable,
        hidden=(settings.data_dir.absolute(),),
    )
    return Runtime(
        spawner=spawner,
        isolation=await trio.to_thread.run_sync(find),
        cages=cages,
        disk=DiskSweep(),
        engine=settings.engine,
        upstream=upstream,
        environment=given,
    )


def _cloud(settings: Settings, store: Store) -> AbstractAsyncContextManager[Cloud | None]:
    return open_cloud(
        settings.snapshot_url,
        store,
        settings.data_dir.absolute(),
        SystemClock(),
        owner=OWNER,
        disk_mb=settings.sandbox_disk_mb,
    )


def _upstream(settings: Settings) -> ModelUpstream:
    headers = credentials(settings.anthropic_api_key, settings.anthropic_custom_headers)
    return ModelUpstream(settings.anthropic_base_url, headers)


def _network(settings: Settings) -> Policy:
    try:
        return parse(list(settings.network))
    except ValueError as error:
        raise StartError(f"network: {error}") from None


def _cli(settings: Settings) -> Path:
    """The CLI, links followed: the one that was asked for, else the SDK wheel's."""
    spec = find_spec("claude_agent_sdk")
    bundled = Path(spec.origin or "").parent / "_bundled" / "claude" if spec else None
    cli = settings.claude_code_executable or bundled
    if cli is None or not os.access(cli, os.X_OK):
        raise StartError(
            f"The Claude CLI is missing: {cli} can't be run. Install claude-agent-sdk, which"
            " carries it, or set CLAUDE_CODE_EXECUTABLE."
        )
    return cli.resolve()


def _program(cli: Path) -> Path:
    """What sandboxes need of it: a script, as npm installs it, has its modules beside it."""
    with cli.open("rb") as file:
        return cli if file.read(4) == b"\x7fELF" else cli.parent


@contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """The data directory, ours alone. The kernel gives the lock back, however we end."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(data_dir / "ashd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StartError(
            f"Can't write to the data directory {data_dir}: {error.strerror}"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise StartError(f"Another ashd uses the data directory {data_dir}") from None
    finally:
        os.close(lock)


@asynccontextmanager
async def _listening(settings: Settings) -> AsyncIterator[list[trio.SocketListener]]:
    """Open until the block is left, also when it is left before anybody serves there."""
    try:
        listeners = await open_listeners(settings.host, settings.port)
    except OSError as error:
        raise StartError(error.strerror or str(error)) from None
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


async def _recover(store: Store, workspaces: Workspaces) -> None:
    """What a daemon that crashed left claims to run, but nobody runs it."""
    for sandbox in await trio.to_thread.run_sync(workspaces.left):
        known = await store.session_by_id(sandbox) is not None
        put_away = workspaces.keep if known else workspaces.discard
        await trio.to_thread.run_sync(put_away, sandbox)
    for session in await store.recover(OWNER, now_iso(SystemClock())):
        log.warning("session.recovered", session=session.id, status=session.status)


def _take_descriptors() -> None:
    """As many as we may: a sandbox's proxy alone can have 256 open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _url(settings: Settings, listeners: list[trio.SocketListener]) -> str:
    port = listeners[0].socket.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


def _start_line(settings: Settings, url: str, runtime: Runtime) -> str:
    isolation, cages = runtime.isolation, runtime.cages
    missing = [*isolation.missing, *cages.missing]
    how = f"{isolation.name}+{cages.name}" + "".join(f" ({why})" for why in missing)
    data_dir = settings.data_dir.absolute()
    return f"ash {__version__}  {url}  data={data_dir}  engine={settings.engine}  isolation={how}"


def _health(settings: Settings, runtime: Runtime, pool: Pool) -> Health:
    begun = trio.current_time()
    isolation = {
        "level": settings.effective_isolation,
        "name": runtime.isolation.name,
        "limits": runtime.cages.name,
        "missing": [*runtime.isolation.missing, *runtime.cages.missing],
    }

    def health() -> dict[str, Any]:
        stats = pool.stats()
        return {
            "status": "ok",
            "version": __version__,
            "coordinatorId": OWNER,
            "activeSessions": stats.waiting + stats.running,
            "activeSandboxes": stats.total - stats.cold,
            "remoteRunners": 0,
            "uptime": round(trio.current_time() - begun, 3),
            "pool": stats,
            "engine": settings.engine,
            "isolation": isolation,
        }

    return health
