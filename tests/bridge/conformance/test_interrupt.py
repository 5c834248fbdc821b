"""An interrupt ends the turn soon, and the conversation goes on."""

import time

from ash.protocol import Exec, ExecResult, Interrupt
from bridge.engine_worker import INTERRUPT_AGAIN_SECONDS
from tests.support.bridge import Bridge, Turn


def test_streaming_turn_ends_at_once(bridge) -> None:
    """An interrupt in the middle of an answer ends the turn, and the next turn works."""
    bridge.ask("SLOW: 60 60", partial=True)
    bridge.message("stream_event")
    turn, seconds = _interrupt(bridge)
    assert seconds < 5
    assert [] == turn.errors
    assert turn.result["is_error"] is True
    assert "echo: still there" == bridge.turn("still there").text


def test_running_tool_is_stopped(bridge) -> None:
    """An interrupt kills a running shell command before it takes effect."""
    sleep = f"sleep 30.{time.time_ns()}"
    bridge.ask(f"BASH: echo begun > begun; {sleep}; echo done > done")
    bridge.message("assistant")
    _wait_for(bridge, "begun")
    turn, seconds = _interrupt(bridge)
    assert seconds < 5
    assert turn.result["is_error"] is True
    assert "no" == _sh(bridge, "test -e done && echo yes || echo no")
    assert "gone" == _sh(bridge, f"while pgrep -f '^{sleep}$' >&2; do sleep 0.02; done; echo gone")


def test_interrupt_right_after_the_query_is_not_lost(bridge) -> None:
    """One interrupt ends the turn, even if it is sent right after the query."""
    bridge.ask("SLOW: 60 60")
    turn, seconds = _interrupt(bridge)
    assert seconds < INTERRUPT_AGAIN_SECONDS
    assert turn.result["is_error"] is True
    assert "echo: on we go" == bridge.turn("on we go").text


def test_interrupt_while_the_engine_boots_ends_the_turn(start) -> None:
    """A query that boots the engine can be interrupted during the boot."""
    with start() as bridge:
        bridge.ask("SLOW: 60 60")
        _, seconds = _interrupt(bridge)
        assert seconds < 5
        assert "echo: next" == bridge.turn("next").text


def test_interrupt_without_a_turn_changes_nothing(bridge) -> None:
    """An interrupt while no turn runs is no error and does not affect the next turn."""
    bridge.interrupt()
    bridge.interrupt()
    assert "tick0 tick1 " == bridge.turn("SLOW: 2 0.2").text


def test_interrupt_of_a_turn_that_is_over_says_so(bridge) -> None:
    """It names its turn, so the one that runs by now goes on."""
    over = bridge.ask("quick")
    bridge.finish()
    bridge.ask("SLOW: 2 0.2")
    bridge.send(Interrupt(id="late", turn=over))
    turn = bridge.finish()
    assert ["There is no turn to interrupt"] == turn.errors
    assert "tick0 tick1 " == turn.result["result"]


def test_interrupt_names_its_turn(bridge) -> None:
    """The turn that is named is ended, be it the running one."""
    query = bridge.ask("SLOW: 60 60")
    bridge.send(Interrupt(turn=query))
    assert bridge.finish().result["is_error"] is True


def test_interrupt_ends_only_the_running_turn(bridge) -> None:
    """Queries that wait behind the interrupted turn are still answered."""
    bridge.ask("SLOW: 60 60", partial=True)
    bridge.message("stream_event")
    bridge.ask("behind")
    turn, _ = _interrupt(bridge)
    assert turn.result["is_error"] is True
    assert "echo: behind" == bridge.finish().text


def _interrupt(bridge: Bridge) -> tuple[Turn, float]:
    begun = time.monotonic()
    bridge.interrupt()
    return bridge.finish(), time.monotonic() - begun


def _sh(bridge: Bridge, command: str) -> str:
    bridge.send(Exec(command=command, id="sh"))
    answer = bridge.receive()
    assert isinstance(answer, ExecResult), answer
    return answer.stdout.strip()


def _wait_for(bridge: Bridge, name: str) -> None:
    assert "" == _sh(bridge, f"until test -e {name}; do sleep 0.02; done")
