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
    """What is sent to a thread runs in the loop: so a test can tell when all has come to rest."""

    async def run(function, *args, **_):
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run)
