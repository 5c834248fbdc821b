"""Agents that work in the background of the real CLI."""

import time

import pytest

from ash import events
from ash.testing import Request, StubModel, Use
from tests.support.bridge import start_bridge

pytestmark = pytest.mark.cli


def _delegate(request: Request) -> Use | None:
    """Answers `DELEGATE: <prompt>` by starting an agent in the background."""
    last = request.texts[-1] if request.texts else ""
    if request.tool_result or not last.startswith("DELEGATE: "):
        return None
    task = {"description": "x", "prompt": last.removeprefix("DELEGATE: ")}
    return Use("Agent", {**task, "subagent_type": "general-purpose", "run_in_background": True})


@pytest.fixture
def bridge(engine, tmp_path):
    with (
        StubModel.in_thread(answer=_delegate) as model,
        start_bridge(engine, tmp_path, model.url) as bridge,
    ):
        yield bridge.open()


def test_turn_lasts_until_the_agent_in_the_background_has_reported(bridge) -> None:
    """The model's answer to a background agent's report belongs to the same turn."""
    turn = bridge.turn("DELEGATE: SLOW: 3 1")
    assert 2 == len(turn.of("result"))
    shown = [frame.event for raw in turn.raw for frame in events.read(raw).frames]
    assert 1 == shown.count("turn_complete")
    assert "tick0 tick1 tick2 " in str(turn.of("assistant"))
    assert ["echo: next"] == [message["result"] for message in bridge.turn("next").of("result")]


def test_interrupt_ends_the_agent_in_the_background(bridge) -> None:
    """A turn that only waits for a background agent can be interrupted."""
    bridge.ask("DELEGATE: SLOW: 60 60")
    bridge.message("result")
    begun = time.monotonic()
    bridge.interrupt()
    assert [] == bridge.finish().errors
    assert time.monotonic() - begun < 3
    assert "echo: next" == bridge.turn("next").text
