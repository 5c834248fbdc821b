"""What holds for all tests: which of them are fast, and what a run took."""

import ssl
import sys
import time
from functools import cache

import pytest
from hypothesis import settings

from tests.support.reach import STARTING, Reach

_SLOW = ("slow", "crash", "cli", "setup", "process")


def pytest_addoption(parser):
    parser.addoption("--took", metavar="COMMAND", help="say at the end what COMMAND took")


def pytest_configure(config):
    if config.option.markexpr == "fast":
        config.pluginmanager.register(_Check())
        settings.register_profile("fast", max_examples=20)
        settings.load_profile("fast")
        # Each HTTP client reads all certificates of the world, 20 ms, and asks only loopback.
        ssl.create_default_context = cache(ssl.create_default_context)
    if command := config.option.took:
        config.pluginmanager.register(_Took(command))


def pytest_collection_modifyitems(items):
    """A test is `fast` that starts no process, by itself, by its fixtures or by what they call."""
    reach = Reach()
    for item in items:
        if any(item.get_closest_marker(name) for name in _SLOW):
            continue
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        functions = [item.obj, *(defined[-1].func for defined in fixtures)]
        if not any(map(reach.starts_process, functions)):
            item.add_marker("fast")


class _Check:
    """That no fast test starts a process all the same."""

    def __init__(self):
        self._started = False
        sys.addaudithook(self._audit)

    def _audit(self, event, _):
        self._started = self._started or event in STARTING

    def pytest_runtest_logstart(self):
        self._started = False

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        report = yield
        if self._started and call.when == "call":
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} starts a process: mark it with @pytest.mark.process"
        return report


class _Took:
    """The last line of a run."""

    def __init__(self, command):
        self._command = command
        self._start = time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config):
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        kinds = ("failed", "error", "passed", "skipped", "xfailed", "xpassed")
        ended = [f"{len(found):,} {kind}" for kind in kinds if (found := reporter.stats.get(kind))]
        minutes, seconds = divmod(round(time.monotonic() - self._start), 60)
        lasted = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
        reporter.write_line(f"{self._command}: {', '.join(ended) or 'no test'} in {lasted}")
