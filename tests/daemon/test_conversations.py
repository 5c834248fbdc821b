"""What an agent knows after `/clear` and `/compact`, when it goes on elsewhere."""

import os
import signal

import pytest

from ash.testing import StubModel
from tests.support.conversations import ENGINES, change, daemon, forked, knows, named, says


@pytest.fixture(params=ENGINES)
async def us(request, data_dir):
    """A client of a daemon with an agent, on each engine that can clear its memory."""
    async with StubModel() as model, daemon(data_dir, request.param, model) as us:
        await us.deploy()
        yield us


@pytest.fixture
async def scripted(data_dir):
    async with StubModel() as model, daemon(data_dir, "scripted", model) as us:
        await us.deploy()
        yield us


@pytest.fixture
async def cli(data_dir):
    async with StubModel() as model, daemon(data_dir, "claude-agent", model) as us:
        await us.deploy()
        yield us


async def test_what_was_cleared_stays_cleared(us):
    """After a cold resume, in a fork, and in a fork of what was said before."""
    session = await us.create()
    await says(us, session, "one")
    before = len(await us.history(session))
    await says(us, session, "/clear", "two")
    await change(us, session, "stop")
    assert ["two"] == await knows(us, session)
    fork, earlier = await forked(us, session), await forked(us, session, afterSequence=before)
    assert (["two"], ["one"]) == (await knows(us, fork), await knows(us, earlier))


async def test_what_was_cleared_stays_cleared_when_the_sandbox_is_taken_away(data_dir):
    """Because another session needs the room, or by a kill."""
    async with StubModel() as model, daemon(data_dir, "scripted", model, max_sandboxes=1) as us:
        await us.deploy()
        session = await us.create()
        await says(us, session, "one", "/clear", "two")
        other = await us.create()
        assert "paused" == await us.status(session)
        await says(us, other, "there")
        assert ["two"] == await knows(us, session)
        for pid in named("bwrap"):
            os.kill(pid, signal.SIGKILL)
        await us.becomes(session, "error")
        assert ["two"] == await knows(us, session)


async def test_clear_is_the_last_that_was_said(us):
    """Then neither the session nor its fork knows anything, and that is no loss."""
    session = await us.create()
    await says(us, session, "one", "/clear")
    fork = await forked(us, session)
    await change(us, session, "stop")
    assert ([], []) == (await knows(us, session), await knows(us, fork))
    await says(us, session, "two")
    await change(us, session, "stop")
    assert ["two"] == await knows(us, session)


async def test_fork_of_a_fork_that_was_cleared(scripted):
    """A fork's own conversation is followed as well."""
    parent = await scripted.create()
    await says(scripted, parent, "one")
    fork = await forked(scripted, parent)
    await says(scripted, fork, "two")
    before = len(await scripted.history(fork))
    await says(scripted, fork, "/clear", "three")
    last, earlier = await forked(scripted, fork), await forked(scripted, fork, afterSequence=before)
    await change(scripted, fork, "stop")
    assert ["three"] == await knows(scripted, fork)
    assert (["three"], ["one", "two"]) == (
        await knows(scripted, last),
        await knows(scripted, earlier),
    )


@pytest.mark.cli
async def test_engine_that_is_started_anew_knows_what_was_cleared(cli):
    """A turn that needs other flags gets a new process, in the sandbox that there is."""
    session = await cli.create()
    await says(cli, session, "one", "/clear", "two")
    await cli.say(session, "three", maxTurns=3)
    assert ["two", "three"] == await knows(cli, session)


@pytest.mark.cli
async def test_fork_at_a_message_before_a_compaction(cli):
    """It has what was said up to there, though the session knows only the summary."""
    session = await cli.create()
    await says(cli, session, "one")
    before = len(await cli.history(session))
    await says(cli, session, "two", "/compact", "three")
    fork = await forked(cli, session, afterSequence=before)
    assert ["one"] == await knows(cli, fork)
    await change(cli, session, "stop")
    assert "three" == (await knows(cli, session))[-1]
