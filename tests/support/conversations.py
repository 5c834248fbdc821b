"""Daemons with each engine that keeps a conversation on disk, and what their agents know."""

import json
import os
import signal
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.daemon import running, settings
from tests.support.processes import descendants
from tests.support.waiting import until

ENGINES = ["scripted", pytest.param("claude-agent", marks=pytest.mark.cli)]


@asynccontextmanager
async def daemon(data_dir, engine, model, **more):
    wanted = settings(data_dir, engine=engine, anthropic_base_url=model.url, **more)
    async with running(wanted, other_tenant=False) as running_daemon:
        yield running_daemon.us


async def says(us, session, *texts):
    for text in texts:
        frames = await us.say(session, text, options="?resume=auto")
        assert "completed" == frames[-1].value["reason"], frames[-2:]


async def knows(us, session):
    """What its agent was asked, as far as it knows."""
    frames = await us.say(session, "RECALL", options="?resume=auto")
    assert "recovered" not in [frame.event for frame in frames]
    results = [f.value for f in frames if f.event == "message" and f.value["type"] == "result"]
    # The CLI puts its own commands into the conversation as well, as XML.
    texts = json.loads(results[-1]["result"])
    return [text for text in texts if text != "RECALL" and not text.startswith("<")]


async def change(us, session, action):
    (await us.post(f"/api/sessions/{session}/{action}")).raise_for_status()


async def forked(us, session, **body):
    response = await us.post(f"/api/sessions/{session}/fork", json=body)
    assert 201 == response.status_code, response.text
    return response.json()["session"]["id"]


def named(name):
    """Our processes of that name."""
    return [
        pid
        for pid in descendants(os.getpid())
        if Path(f"/proc/{pid}/comm").read_text().strip() == name
    ]


async def kill_the_cli(us, session):
    """And wait until that is noticed: a message that comes sooner fails."""
    known = await news(us, session)
    for pid in named("claude"):
        os.kill(pid, signal.SIGKILL)

    async def there_are_news():
        return await news(us, session) != known

    await until(there_are_news)


async def news(us, session):
    """What the daemon itself has put into the session's log."""
    logs = (await us.get(f"/api/sessions/{session}/logs")).json()["logs"]
    return [line["text"] for line in logs if line["level"] == "system"]
