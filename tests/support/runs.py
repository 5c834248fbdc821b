"""Marks the fast tests, and prints how long a run took."""

import ssl
import sys
import time
from functools import cache

import pytest
from hypothesis import settings

from tests.support.reach import STARTING, Reach

_SLOW = ("slow", "crash", "cli", "setup", "process")


def pytest_addoption(parser):
    parser.addoption("--took", metavar="COMMAND", help="print at the end how long COMMAND took")


def pytest_configure(config):
    if config.option.markexpr == "fast":
        config.pluginmanager.register(_Check())
        settings.register_profile("fast", max_examples=20)
        settings.load_profile("fast")
        # Each HTTP client loads the CA certificates, which takes 20 ms and is not needed here.
        ssl.create_default_context = cache(ssl.create_default_context)
    is_worker = hasattr(config, "workerinput")
    if (command := config.option.took) and not is_worker:
        config.pluginmanager.register(_Took(command))


def pytest_collection_modifyitems(items):
    """Marks tests as `fast` if neither they nor their fixtures start a process."""
    reach = Reach()
    for item in items:
        if any(item.get_closest_marker(name) for name in _SLOW):
            continue
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        functions = [item.obj, *(defined[-1].func for defined in fixtures)]
        if not any(map(reach.starts_process, functions)):
            item.add_marker("fast")


class _Check:
    """Fails a fast test that starts a process nevertheless."""

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
    """Prints the last line of a run."""

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
