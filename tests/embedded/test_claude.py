"""A script with the real CLI in it, and the model a stub."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ash import Ash
from ash.testing import StubModel
from tests.support.embedded import say

ROOT = Path(__file__).parents[2]

HELLO = "hello \x85\u2028\u2029 there"


@pytest.mark.cli
async def test_real_cli_streams_uses_tools_and_remembers(data_dir):
    """What a turn does is real, and so is what the session knows after a stop."""
    async with StubModel(expect_key="sk-stub") as model:
        settings = {"anthropic_api_key": "sk-stub", "anthropic_base_url": model.url}
        async with Ash(data_dir=data_dir, pre_warm_count=0, **settings) as ash:
            await ash.deploy_agent("helper", system_prompt="be kind")
            session = (await ash.create_session("helper")).id
            first = await say(ash, session, HELLO, include_partial_messages=True)
            tool = await say(ash, session, "BASH: echo $((6 * 7)) > made.txt; cat made.txt")
            await ash.stop_session(session)
            recalled = await say(ash, session, "RECALL", resume="auto")
            made = await ash.read_file(session, "made.txt")

    deltas = [event.json()["delta"] for event in first if event.event == "text_delta"]
    assert f"echo: {HELLO}" == "".join(deltas)
    # The CLI escapes what some readers take for the end of a line, so its bytes are left alone.
    assert [1] * len(first) == [len(event.data.decode().splitlines()) for event in first]
    assert {"tool_use", "tool_result"} <= {event.event for event in tool}
    assert b"42\n" == made
    assert "hello" in recalled[-2].json()["result"]
    assert ["completed"] * 3 == [each[-1].json()["reason"] for each in (first, tool, recalled)]


@pytest.mark.cli
def test_example(tmp_path):
    """It answers, and leaves nothing behind."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "embedded.py", "Hello", "there"],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
    )
    # Any start clears away what daemons of other tests have left when they were killed.
    said = [line for line in done.stderr.splitlines() if "group.leftover_removed" not in line]
    assert (0, "echo: Hello there\n", []) == (done.returncode, done.stdout, said)
    assert [] == list(tmp_path.glob("ash-embedded-*"))
