"""Fixtures and hooks for all tests."""

import pytest
import trio

from tests.support.pool import Maker

pytest_plugins = ["tests.support.runs"]


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def inline_threads(monkeypatch):
    """Runs calls for threads in the loop, so that a test can tell when nothing runs any more."""

    async def run(function, *args, **_):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run)
