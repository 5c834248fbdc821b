"""docs/embedding.md is true: its examples run, and so does that of docs/testing.md."""

import re
import signal
import sys
from pathlib import Path

import pytest
import trio

from ash.core import CLOSE_SECONDS
from tests.support.embedded import SLOW, embedded

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "embedding.md").read_text(encoding="utf-8")
FIRST, SIGNALS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TESTING = (DOCS / "testing.md").read_text(encoding="utf-8")
(OF_A_TEST,) = re.findall(r"```python\n(from ash import Ash.*?)```", TESTING, re.DOTALL)

WORK = f"""
async def work(ash):
    await ash.deploy_agent("helper", system_prompt="be kind")
    session = await ash.create_session("helper")
    async with ash.send_message(session.id, "{SLOW}", include_partial_messages=True) as events:
        async for event in events:
            if event.event == "text_delta":
                print(event.event, flush=True)

trio.run(main)
"""


def env(tmp_path):
    return {
        "PATH": "/usr/bin:/bin",
        "ASH_ENGINE": "scripted",
        "ASH_DATA_DIR": str(tmp_path / "data"),
    }


async def test_first_example(tmp_path):
    """It runs as it stands, and prints the answer."""
    agent = tmp_path / "my-agent"
    agent.mkdir()
    (agent / "CLAUDE.md").write_text("Be kind.")
    done = await trio.run_process(
        [sys.executable, "-W", "error", "-c", FIRST],
        cwd=tmp_path,
        env=env(tmp_path),
        capture_stdout=True,
        capture_stderr=True,
        check=False,
    )
    assert (0, b"echo: Hello!", b"") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.cli
async def test_example_of_a_test(tmp_path, monkeypatch):
    """An agent of one's own can be tested with the real CLI and no model."""
    monkeypatch.chdir(tmp_path)
    agent = tmp_path / "my-agent"
    agent.mkdir()
    (agent / "CLAUDE.md").write_text("Be kind.")
    names = {}
    exec(OF_A_TEST, names)
    await names["test_agent_lists_its_files"](tmp_path)


async def test_orderly_end_on_a_signal(tmp_path):
    """Also on the one that kills by itself: the turn ends as `shutdown`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", SIGNALS + WORK], env=env(tmp_path), stdout=-1
        )
        async with process.stdout:
            await process.stdout.receive_some()
            process.send_signal(number)
            assert 0 == await process.wait()
    async with embedded(tmp_path / "data") as ash:
        for session in await ash.list_sessions():
            events = await ash.list_events(session.id, type="lifecycle")
            assert '{"action":"paused","reason":"shutdown"}' == events[-1].data


def test_number():
    """The end takes no longer than the page says."""
    assert "5 seconds more at most" in PAGE
    assert CLOSE_SECONDS < 5
