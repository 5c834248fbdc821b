"""A script with ash in it: in this process, or in one of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import trio

from ash import Ash
from tests.support.processes import descendants

SLOW = "SLOW: 100 60"

# Says the session's id once its turn has begun, and goes on with the turn.
BUSY = f"""\
import sys, trio
from ash import Ash

async def main():
    async with Ash(data_dir=sys.argv[1], engine="scripted", pre_warm_count=0) as ash:
        await ash.deploy_agent("helper", system_prompt="be kind")
        session = await ash.create_session("helper")
        async with ash.send_message(session.id, "hello") as events:
            async for event in events:
                pass
        message = ash.send_message(session.id, "{SLOW}", include_partial_messages=True)
        async with message as events:
            async for event in events:
                if event.event == "text_delta":
                    print(session.id, flush=True)

trio.run(main)
"""


def embedded(data_dir: Path, **settings: Any) -> Ash:
    return Ash(data_dir=data_dir, engine="scripted", pre_warm_count=0, **settings)


async def say(ash: Ash, session: str, content: Any, **options: Any) -> list[Any]:
    """All events of a turn."""
    async with ash.send_message(session, content, **options) as events:
        return [event async for event in events]


async def begin(ash: Ash, session: str) -> Any:
    """The stream of a long turn of which something was said. Whoever asks leaves it."""
    stream = ash.send_message(session, SLOW, include_partial_messages=True)
    async for event in stream:
        if event.event == "text_delta":
            return stream
    raise AssertionError("the turn ended at once")


class Script:
    """`BUSY` in a process of its own; `session` is the one that it talks to."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", BUSY, str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path.cwd())},
            text=True,
        )
        self.session = self._read()
        self.family = descendants(self.process.pid)

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    async def end(self, number: int) -> str:
        """Sends the signal; what it said on stderr until it ended."""
        self.process.send_signal(number)
        _, said = await trio.to_thread.run_sync(self.process.communicate)
        return said
