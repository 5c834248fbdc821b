"""`Reach` tells code that starts processes from code that does not."""

import subprocess
import sys
from functools import partial

import pytest

from ash import cli
from ash.sandbox.process import Spawner
from ash.store import open_store
from tests.support import daemon
from tests.support.reach import Reach


def _itself():
    subprocess.run([sys.executable, "--version"], check=True)


def _by_another():
    return [_itself() for _ in range(2)]


def _late():
    from tests.support import daemon as late

    return late.running


def _asked_for(request):
    return request.getfixturevalue("daemon")


class _Method:
    @property
    def started(self):
        return _itself()


def _none(started):
    """An argument may be anything."""
    return started.run(sys.executable)


@pytest.mark.parametrize(
    "code",
    [_itself, _by_another, _late, _asked_for, _Method, partial(_itself), Spawner, daemon.running],
)
def test_code_that_starts_a_process(code):
    """Code that starts a process itself or through other functions is found."""
    assert Reach().starts_process(code)


@pytest.mark.parametrize("code", [_none, open_store, len, 5, cli])
def test_code_that_starts_none(code):
    """Code that only could be given something that starts a process is not."""
    assert not Reach().starts_process(code)
