"""The daemon `ashd`: runs the core with HTTP in front of it, until a signal ends it."""

import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import trio
from hypercorn.typing import ASGIFramework

from ash import __version__
from ash.authentication import ApiKeys, Tickets, load_secret
from ash.clock import SystemClock
from ash.config import Settings
from ash.core import Core, open_core
from ash.data_dir import absolute, owned
from ash.errors import StartError
from ash.http.app import Services, make_app
from ash.http.cors import Cors
from ash.http.front import Front
from ash.http.request_log import RequestLog
from ash.http.server.server import open_listeners, serve
from ash.http.server.tcp_server import ConnectionLimits
from ash.log import get_logger
from ash.sandbox.process import reap_orphans

log = get_logger()


async def run(settings: Settings) -> None:
    """Runs the daemon from start to end. Raises StartError, whose text is for its user."""
    data_dir = absolute(settings.data_dir)
    _take_descriptors()
    with owned(data_dir, "Another ashd"):
        async with (
            _listening(settings) as listeners,
            open_core(settings, systemd=True) as core,
        ):
            secret = await trio.to_thread.run_sync(load_secret, data_dir)
            keys = ApiKeys(core.store, secret, SystemClock())
            key_file = await keys.load(data_dir, settings.api_key)
            url = _url(settings, listeners)
            print(_start_line(core, url), flush=True)  # noqa: T201 - for its user
            for missing in core.missing:
                log.warning("daemon.protection_missing", text=missing)
            log.info("daemon.started", url=url, key_file=str(key_file) if key_file else None)
            await _serve(core, listeners, keys, Tickets(secret, SystemClock()))
    log.info("daemon.stopped")


async def _serve(
    core: Core, listeners: list[trio.SocketListener], keys: ApiKeys, tickets: Tickets
) -> None:
    """Serves HTTP in the core's nursery until a signal ends it."""
    services = Services(
        agents=core.agents,
        sessions=core.sessions,
        files=core.files,
        keys=keys,
        tickets=tickets,
        health=core.health,
        message_reader=core.message_reader,
    )
    app: ASGIFramework = Cors(Front(services, make_app(services)), core.settings.allowed_origins)
    if core.settings.log_level == "debug":
        app = RequestLog(app)
    draining, answered = trio.Event(), trio.Event()
    grace = core.settings.grace_seconds
    limits = ConnectionLimits(
        keep_alive_timeout=core.settings.keep_alive_timeout,
        max_connections=core.runtime.descriptors.clients,
    )

    async def answer() -> None:
        try:
            await serve(app, listeners, draining=draining, grace=grace, limits=limits)
        finally:
            answered.set()

    core.nursery.start_soon(reap_orphans, core.runtime.spawner)
    core.nursery.start_soon(answer)
    await _stop_on_signals(core, draining, answered)


async def _stop_on_signals(core: Core, draining: trio.Event, answered: trio.Event) -> None:
    """Winds the core down at the first signal, and cancels it at once at a second one.

    Clients that still read the end of their turn have the rest of the grace for it.
    """
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if draining.is_set():
                log.warning("daemon.stop_forced", signal=number)
                core.nursery.cancel_scope.cancel()
                return
            log.info("daemon.stopping", signal=number, grace=core.settings.grace_seconds)
            draining.set()
            core.nursery.start_soon(partial(core.wind_down, answered.wait))


@asynccontextmanager
async def _listening(settings: Settings) -> AsyncIterator[list[trio.SocketListener]]:
    """Listeners that are closed when the block is left, even if nothing has served them."""
    try:
        listeners = await open_listeners(settings.host, settings.port)
    except OSError as error:
        raise StartError(error.strerror or str(error)) from None
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.socket.close()


def _take_descriptors() -> None:
    """Raises the limit of open files to the maximum, which `ash.descriptors` divides."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _url(settings: Settings, listeners: list[trio.SocketListener]) -> str:
    port = listeners[0].socket.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


def _start_line(core: Core, url: str) -> str:
    settings, runtime = core.settings, core.runtime
    how = f"{runtime.isolation.name}+{runtime.groups.name}"
    how += "".join(f" ({why})" for why in core.missing)
    data_dir = settings.data_dir.absolute()
    return f"ash {__version__}  {url}  data={data_dir}  engine={settings.engine}  isolation={how}"
