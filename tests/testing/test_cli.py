"""How the real CLI reacts to the stub model, where a recording does not show it."""

import signal

import pytest
import trio

from ash.script import big
from ash.testing import StubModel

pytestmark = pytest.mark.cli


async def test_crash_kills_the_cli_in_mid_turn(open_cli) -> None:
    """CRASH makes the CLI's own Bash tool kill it, and the turn has no result."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            await cli.turn("hello")
            messages = await cli.turn("CRASH")
            assert -signal.SIGKILL == await cli.wait()
    kinds = [message["type"] for message in messages]
    assert "assistant" in kinds
    assert "result" not in kinds


async def test_big_text_comes_through_unchanged(open_cli) -> None:
    """Two MiB with every kind of Unicode are the same in deltas, message and result."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            messages = await cli.turn("BIG: 2048")
    deltas = [message.get("event", {}).get("delta", {}).get("text", "") for message in messages]
    [whole] = [m["message"]["content"][0] for m in messages if m["type"] == "assistant"]
    expected = big(2048).text
    assert expected == "".join(deltas)
    assert expected == whole["text"]
    assert expected == messages[-1]["result"]


@pytest.mark.parametrize("code", [429, 500, 529])
async def test_fail_is_not_tried_again(code, open_cli) -> None:
    """The stub's header keeps the CLI from retrying an error for minutes."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            await cli.turn(f"FAIL: {code}")
    assert 1 == len(model.requests)


async def test_quiet_cli_makes_no_other_requests(open_cli) -> None:
    """Without nonessential traffic, the CLI makes one request for each model call."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            for text in ("hello", "BASH: true", "RECALL"):
                await cli.turn(text)
    assert ["POST /v1/messages?beta=true"] * 4 == [f"{r.method} {r.path}" for r in model.requests]
