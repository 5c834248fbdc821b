"""A model endpoint that fails, and the real CLI: what is told, and how the turn ends."""

import pytest
import trio

from ash.egress import model_call
from ash.testing import Cut, Fail, Hang, Say, StubModel
from tests.support.daemon import running, settings

pytestmark = pytest.mark.cli


class Faulty:
    """Answers the first time as the text says, and later by the script."""

    def __init__(self):
        self.faults = {
            "refused": [Fail(401, "invalid x-api-key", again=True)],
            "overloaded": [Fail(529, "Overloaded", again=True)] * 2,
            "down": [Fail(529, "Overloaded", again=True)] * 20,
            "cut": [Cut(Say(("echo: ", "c")))],
            "hanging": [Hang()],
            "redirected": [Fail(302, "elsewhere", again=True)] * 20,
        }

    def __call__(self, request):
        left = self.faults.get(request.text)
        return left.pop(0) if left else None


def shown(frames, event):
    return [frame.value for frame in frames if frame.event == event]


async def test_faults_of_the_endpoint_are_told_and_end_in_bounded_time(data_dir, monkeypatch):
    """Each kind in a turn of its own; the session takes the next message at once."""
    monkeypatch.setattr(model_call, "SILENT_SECONDS", 1.0)
    async with StubModel(answer=Faulty()) as model:
        wanted = settings(
            data_dir,
            engine="claude-agent",
            anthropic_base_url=model.url,
            anthropic_api_key="sk-daemon",
            model_retry_timeout=6.0,
            model_silence_timeout=6.0,
        )
        async with running(wanted, other_tenant=False) as daemon:
            us = daemon.us
            await us.deploy()
            session = await us.create()
            turns = {}
            for text in ("refused", "overloaded", "down", "cut", "hanging", "redirected", "fine"):
                began = trio.current_time()
                turns[text] = await us.say(session, text, includePartialMessages=True)
                assert trio.current_time() - began < 20, text

    reasons = {text: shown(frames, "done")[0]["reason"] for text, frames in turns.items()}
    failed = [text for text, reason in reasons.items() if reason == "error"]
    assert ["refused", "down", "hanging", "redirected"] == failed

    (refused,) = shown(turns["refused"], "error")
    assert "refused the key (401: invalid x-api-key): check ANTHROPIC_API_KEY" in refused["error"]
    assert [] == shown(turns["refused"], "retry")
    assert [{"numTurns": 1, "result": None}] == shown(turns["refused"], "turn_complete")

    first, second = shown(turns["overloaded"], "retry")
    assert (1, 10, 529) == (first["attempt"], first["of"], first["status"])
    assert (2, True) == (second["attempt"], second["retryInMs"] > first["retryInMs"])
    assert "is overloaded (529: Overloaded)" in first["error"]

    (down,) = shown(turns["down"], "error")
    assert "is overloaded (529: Overloaded)" in down["error"]
    assert 0 < len(shown(turns["down"], "retry")) < 4

    # The CLI may say that the answer was cut, and that it asks again, in two writes.
    taken_back, *more = shown(turns["cut"], "retry")
    assert taken_back["discard"] is True
    assert ["discard" in data for data in more] in ([], [False])
    kinds = [frame.event for frame in turns["cut"] if frame.event in {"text_delta", "retry"}]
    assert ["text_delta"] * 2 + ["retry"] * (1 + len(more)) + ["text_delta"] * 2 == kinds
    after = [data["delta"] for data in shown(turns["cut"], "text_delta")[2:]]
    assert "echo: cut" == "".join(after)

    (hanging,) = shown(turns["hanging"], "error")
    # It says how long it was in fact, which is more than 6 s on a loaded machine.
    assert "has sent nothing for " in hanging["error"]
    told = [data["error"].rpartition(" for ")[2] for data in shown(turns["hanging"], "retry")]
    assert ["1 s", "2 s"] == told[:2]

    (redirected,) = shown(turns["redirected"], "error")
    assert "answers with a redirect to nowhere (302), not as a model" in redirected["error"]
    assert [] == shown(turns["redirected"], "retry")
