"""A session whose sandbox dies between two turns says so to whoever asks next."""

import pytest
from msgspec import Raw

from ash.errors import BadRequest
from ash.lifecycle import not_active
from ash.protocol import Exec, Query
from ash.sessions.session_spec import NewSession
from tests.support.world import opened

TENANT = "default"


@pytest.fixture
async def world(tmp_path, monkeypatch):
    async with opened(None, tmp_path, monkeypatch) as world:
        await world.deploy("helper")
        yield world


@pytest.fixture
async def dead(world):
    """A session in the instant in which its idle bridge is found dead."""
    session_id = (await world.sessions.create(TENANT, NewSession(agent="helper"))).id
    world.bridges[session_id].kill()
    return session_id


async def test_status_is_that_of_the_dead(world, dead, autojump_clock):
    """It is not called active while its remains are put away."""
    assert "error" == (await world.sessions.get(TENANT, dead)).status


@pytest.mark.parametrize("ask", ["send", "exec", "interrupt"])
async def test_request_is_refused_with_that_status(world, dead, autojump_clock, ask):
    """And with what to do about it."""
    asked = {
        "send": [Query(prompt=Raw(b'"hi"'), session_id=dead)],
        "exec": [Exec(command="true")],
        "interrupt": [],
    }
    with pytest.raises(BadRequest) as refused:
        await getattr(world.sessions, ask)(TENANT, dead, *asked[ask])
    assert not_active("error").text == refused.value.text


async def test_message_may_resume_it_at_once(world, dead, autojump_clock):
    """None is spent on learning that the sandbox is gone."""
    query = Query(prompt=Raw(b'"hi"'), session_id=dead)
    turn, _ = await world.sessions.send(TENANT, dead, query, resume="auto")
    await turn.finished.wait()
    assert (None, "active") == (turn.lost, (await world.sessions.get(TENANT, dead)).status)
