"""Fixtures and hooks for all tests."""

import logging

import pytest
import structlog
import trio

from tests.support.pool import Maker
from tests.support.processes import alive, children, command
from tests.support.waiting import block_until

pytest_plugins = ["tests.support.runs"]


@pytest.fixture(autouse=True)
def leaves_no_process():
    """Each test ends what it starts. Else a later test, which counts processes, fails for it."""
    before = children()

    def left():
        return {pid: command(pid) for pid in children() - before if alive(pid)}

    yield
    block_until(lambda: not left(), left)


@pytest.fixture(autouse=True)
def own_logging():
    """What a test, or a daemon in it, makes of the logging is gone when it ends.

    Else whether a later test finds a line on stderr or in `caplog` depended on the order.
    """
    loggers = [logging.getLogger(name) for name in (None, "httpx", "httpcore")]
    levels = [logger.level for logger in loggers]
    handlers = logging.root.handlers
    yield
    structlog.reset_defaults()
    logging.root.handlers = handlers
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


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
