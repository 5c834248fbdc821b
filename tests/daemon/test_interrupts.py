"""An interrupt ends the turn that it was meant for, however early it comes."""

import pytest
import trio

from ash.testing import StubModel
from tests.support.daemon import running, settings


async def _three_at_once(us, session, gap):
    """Three messages, each of which ends the one before; the reasons of their turns."""
    reasons, begun, last_has_begun = [], [], trio.Event()

    async def say(number):
        await trio.sleep(number * gap)
        async with us.sending(session, "SLOW: 60 60", "?whenBusy=interrupt") as stream:
            begun.append(await stream.until("session_start"))
            if len(begun) == 3:
                last_has_begun.set()
            reasons.append((await stream.until("done")).value["reason"])

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(say, number)
            await last_has_begun.wait()
            answer = await us.post(f"/api/sessions/{session}/interrupt")
    assert {"interrupted": True, "turn": "running"} == answer.json()
    return reasons


@pytest.mark.parametrize("gap", [0.0, 0.001, 0.005])
async def test_three_that_interrupt_at_once_follow_one_another(us, session, gap):
    """Each is stored, begins, and is ended by the next; the session stays as it is."""
    assert ["interrupted"] * 3 == await _three_at_once(us, session, gap)
    assert "active" == await us.status(session)
    assert 3 == [m["role"] for m in await us.history(session)].count("user")


@pytest.mark.cli
async def test_three_that_interrupt_at_once_on_the_real_cli(data_dir):
    """Neither the CLI nor its bridge is lost, whichever of them an interrupt finds not ready."""
    async with StubModel() as model:
        wanted = settings(
            data_dir, engine="claude-agent", anthropic_base_url=model.url, anthropic_api_key="sk-x"
        )
        async with running(wanted, other_tenant=False) as daemon:
            await daemon.us.deploy()
            session = await daemon.us.create()
            for gap in (0.0, 0.002, 0.005):
                assert ["interrupted"] * 3 == await _three_at_once(daemon.us, session, gap)
                assert "active" == await daemon.us.status(session)
