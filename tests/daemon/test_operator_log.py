"""What the daemon's log tells its operator, and what it keeps to itself."""

import os
import signal

import pytest
import structlog.testing

from tests.support.daemon import running, settings
from tests.support.processes import alive, descendants


@pytest.fixture
def lines():
    """`lines(action)`: the lines of that action so far."""
    with structlog.testing.capture_logs() as logs:
        yield lambda action: [line for line in logs if action == line["event"]]


async def test_life_of_a_session_is_logged(data_dir, lines):
    """Deploy, start, and the death of the engine in a turn: which session, and why."""
    async with running(settings(data_dir)) as daemon:
        us = daemon.us
        await us.deploy()
        session = await us.create()
        async with us.sending(session, "SLOW: 100 60", includePartialMessages=True) as stream:
            await stream.until("text_delta")
            for pid in filter(alive, descendants(os.getpid())):
                os.kill(pid, signal.SIGKILL)
            await stream.rest()
        await us.becomes(session, "error")
    names = {"session": session, "agent": "helper", "tenant": "default"}
    (deployed,), (started,) = lines("agent.deployed"), lines("session.started")
    assert ("helper", 1) == (deployed["agent"], deployed["version"])
    (turn,), (failed,) = lines("turn.ended_in_error"), lines("session.failed")
    for line in (started, turn, failed):
        assert names.items() <= line.items()
        assert line["seconds"] >= 0
    assert "The agent's process ended" in turn["why"]
    assert "The agent's process ended" in failed["why"]


async def test_refused_key_is_logged(data_dir, lines):
    """Which route and from where, on routes of both kinds; the key is not in the line."""
    async with running(settings(data_dir)) as daemon:
        for method, path in (("GET", "/api/agents"), ("POST", "/api/sessions/1/messages")):
            wrong = {"Authorization": "Bearer almost-right"}
            assert 401 == (await daemon.us.request(method, path, headers=wrong)).status_code
    first, second = lines("http.key_refused")
    assert ("GET", "/api/agents", "127.0.0.1") == (first["method"], first["path"], first["client"])
    assert ("POST", "127.0.0.1") == (second["method"], second["client"])
    assert "almost-right" not in str([first, second])
