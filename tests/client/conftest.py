"""The client in its three guises, beside a real daemon."""

import asyncio
from functools import partial

import pytest
import trio

from ash import AshClient, AsyncAshClient
from tests.support.daemon import KEY, PATIENCE, running, settings
from tests.support.proxy import proxying


async def in_thread(do):
    """Raises trio.TooSlowError for a stream that never ends; its thread is left behind then."""
    with trio.fail_after(PATIENCE):
        return await trio.to_thread.run_sync(do, abandon_on_cancel=True)


class Script:
    """A script that uses the client; its methods are the same in each guise.

    `take` reads events as long as `wanted` says so, then leaves the stream early.
    """

    def __init__(self, url, key=KEY):
        self.url = url
        self.key = key
        self.told = []

    def options(self):
        return {"server_url": self.url, "api_key": self.key, "on_reconnect": self.told.append}

    def at(self, url, key=KEY):
        return type(self)(url, key)


class Sync(Script):
    async def call(self, name, *args, **kwargs):
        def do():
            with AshClient(**self.options()) as client:
                return getattr(client, name)(*args, **kwargs)

        return await in_thread(do)

    async def take(self, wanted, name, *args, **kwargs):
        def do():
            events = []
            with (
                AshClient(**self.options()) as client,
                getattr(client, name)(*args, **kwargs) as stream,
            ):
                for event in stream:
                    events.append(event)
                    if not wanted(event):
                        break
            return events

        return await in_thread(do)


class OnTrio(Script):
    async def call(self, name, *args, **kwargs):
        async with AsyncAshClient(**self.options()) as client:
            return await getattr(client, name)(*args, **kwargs)

    async def take(self, wanted, name, *args, **kwargs):
        events = []
        async with (
            AsyncAshClient(**self.options()) as client,
            getattr(client, name)(*args, **kwargs) as stream,
        ):
            async for event in stream:
                events.append(event)
                if not wanted(event):
                    break
        return events


class OnAsyncio(OnTrio):
    async def call(self, name, *args, **kwargs):
        return await self._in_asyncio(partial(super().call, name, *args, **kwargs))

    async def take(self, wanted, name, *args, **kwargs):
        return await self._in_asyncio(partial(super().take, wanted, name, *args, **kwargs))

    async def _in_asyncio(self, do):
        return await in_thread(lambda: asyncio.run(do()))


GUISES = [Sync, OnTrio, OnAsyncio]


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "data"


@pytest.fixture
async def daemon(data_dir):
    """A daemon with the scripted engine."""
    async with running(settings(data_dir)) as daemon:
        yield daemon


@pytest.fixture
async def us(daemon):
    return daemon.us


@pytest.fixture
async def session(us):
    """A session that is active."""
    await us.deploy()
    return await us.create()


@pytest.fixture(params=GUISES, ids=lambda guise: guise.__name__)
def script(request, daemon):
    return request.param(daemon.url)


@pytest.fixture
async def proxy(daemon):
    async with proxying(daemon.url) as proxy:
        yield proxy


@pytest.fixture
def soon(monkeypatch):
    """Streams come back at once."""
    monkeypatch.setattr("ash.client.reconnecting.FIRST_PAUSE", 0.01)
    monkeypatch.setattr("ash.client.reconnecting.LONGEST_PAUSE", 0.02)


@pytest.fixture
def far(script, proxy, soon):
    """The script behind the proxy."""
    return script.at(proxy.url)


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    """No setting of the machine's own."""
    for name in ("ASH_SERVER_URL", "ASH_API_KEY", "ASH_DATA_DIR", "ASH_CONFIG"):
        monkeypatch.delenv(name, raising=False)
