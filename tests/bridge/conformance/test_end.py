"""A bridge ends soon and leaves no process, whichever way it is ended."""

import signal
import time

import pytest

from ash.protocol import Exec, ExecResult, Shutdown
from tests.support.bridge import processes_under

# The engine's processes, one of its tools, and background processes of tools and shell commands.
_BUSY = "BASH: (setsid sleep 300 >/dev/null 2>&1 &); echo busy > busy; sleep 300"


@pytest.fixture
def busy(start, tmp_path):
    """A bridge in the middle of a turn, with every kind of process that it can have."""
    with start() as bridge:
        bridge.open()
        bridge.ask(_BUSY)
        wait = "setsid sleep 300 & until test -e busy; do sleep 0.02; done"
        bridge.send(Exec(command=wait, id="e"))
        while not isinstance(bridge.receive(), ExecResult):
            pass
        assert len(processes_under(tmp_path)) >= 4
        yield bridge


def _ended(bridge, folder) -> float:
    begun = time.monotonic()
    assert 0 == bridge.process.wait(10)
    assert [] == processes_under(folder)
    return time.monotonic() - begun


def test_hang_up_ends_everything(busy, tmp_path) -> None:
    """When the daemon closes the socket, the bridge and all its processes end."""
    busy.hang_up()
    assert _ended(busy, tmp_path) < 5


def test_sigterm_ends_everything_and_answers_the_turn(busy, tmp_path) -> None:
    """On SIGTERM the bridge answers the running turn before it ends."""
    busy.process.send_signal(signal.SIGTERM)
    turn = busy.finish()
    assert ["shutting down"] == [error[-13:] for error in turn.errors]
    assert _ended(busy, tmp_path) < 5


def test_shutdown_ends_everything_and_answers_the_turn(busy, tmp_path) -> None:
    """The `shutdown` command does the same as SIGTERM."""
    busy.send(Shutdown())
    assert ["shutting down"] == [error[-13:] for error in busy.finish().errors]
    assert _ended(busy, tmp_path) < 5


def test_idle_bridge_ends_at_once(start, tmp_path) -> None:
    """An idle engine exits by itself, so that its transcript is complete."""
    with start() as bridge:
        bridge.open()
        bridge.turn("hello")
        begun = time.monotonic()
        assert 0 == bridge.hang_up()
        assert time.monotonic() - begun < 3
    assert [] == processes_under(tmp_path)


def test_hang_up_while_the_engine_boots_ends_everything(start, tmp_path) -> None:
    """A bridge can be ended while its engine still boots."""
    for moment in (0.1, 0.8):
        with start() as bridge:
            bridge.ask("hello")
            time.sleep(moment)
            begun = time.monotonic()
            assert 0 == bridge.hang_up()
            assert time.monotonic() - begun < 4
        assert [] == processes_under(tmp_path)
