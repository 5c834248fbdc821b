"""What the real CLI does with the stub model's answers, where a recording does not show it."""

import signal

import pytest
import trio

from ash.script import big
from ash.testing import StubModel

pytestmark = pytest.mark.cli


async def test_crash_kills_the_cli_in_mid_turn(open_cli) -> None:
    """Its own Bash tool does it; the turn has no result."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            await cli.turn("hello")
            messages = await cli.turn("CRASH")
            assert -signal.SIGKILL == await cli.wait()
    kinds = [message["type"] for message in messages]
    assert "assistant" in kinds
    assert "result" not in kinds


async def test_big_text_comes_through_unchanged(open_cli) -> None:
    """Two MiB with every kind of Unicode, in the deltas, the message and the result."""
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
    """The CLI would ask ten times over minutes, if the response did not tell it not to."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            await cli.turn(f"FAIL: {code}")
    assert 1 == len(model.requests)


async def test_quiet_cli_asks_nothing_beside_its_turns(open_cli) -> None:
    """With the nonessential traffic off, each model call is one request and there are no others."""
    with trio.fail_after(30):
        async with StubModel() as model, open_cli(model) as cli:
            for text in ("hello", "BASH: true", "RECALL"):
                await cli.turn(text)
    assert ["POST /v1/messages?beta=true"] * 4 == [f"{r.method} {r.path}" for r in model.requests]
