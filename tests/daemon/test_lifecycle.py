"""Pause, stop, resume, interrupt and configure, over a real connection and in real sandboxes."""

import json
import os
from contextlib import suppress

import pytest
import trio

from ash.lifecycle import not_active
from ash.sessions.turn import Turn
from tests.support.daemon import running, settings
from tests.support.processes import alive, descendants, until

SLOW = "SLOW: 100 60"


def text_of(frames):
    """What the turn said in the end."""
    messages = [frame.value for frame in frames if frame.event == "message"]
    return next(m["result"] for m in messages if m["type"] == "result")


def init(frames):
    """What the engine says that it was started with."""
    messages = [frame.value for frame in frames if frame.event == "message"]
    return next(m for m in messages if m.get("subtype") == "init")


def bridges():
    """The processes of live sandboxes."""
    return {pid for pid in descendants(os.getpid()) if alive(pid)}


async def ask(us, session, action, body=None, method="POST"):
    """The status and the body of what was answered."""
    response = await us.request(method, f"/api/sessions/{session}/{action}", json=body)
    return response.status_code, response.json()


async def becomes(us, session, action):
    """The session's status after an action that is allowed."""
    code, body = await ask(us, session, action)
    assert 200 == code, body
    return body["session"]["status"]


async def actions(us, session):
    """The session's life, as its timeline tells it."""
    rows = await us.history(session, "events")
    return [json.loads(row["data"]) for row in rows if row["type"] == "lifecycle"]


@pytest.fixture
async def in_state(us, session):
    """Brings the session into a state."""
    ways = {
        "active": [],
        "paused": ["pause"],
        "stopped": ["stop"],
    }

    async def bring(state):
        for action in ways.get(state, []):
            await becomes(us, session, action)
        if state == "ended":
            await us.delete(f"/api/sessions/{session}")
        return session

    return bring


@pytest.mark.parametrize(
    ("state", "action", "expected"),
    [
        ("active", "pause", (200, "paused")),
        ("active", "stop", (200, "stopped")),
        ("active", "resume", (200, "active")),
        ("paused", "pause", (400, 'Cannot pause session with status "paused"')),
        ("paused", "stop", (400, 'Cannot stop session with status "paused"')),
        ("paused", "resume", (200, "active")),
        ("paused", "interrupt", (400, not_active("paused").text)),
        ("paused", "messages", (400, not_active("paused").text)),
        ("stopped", "pause", (400, 'Cannot pause session with status "stopped"')),
        ("stopped", "stop", (400, 'Cannot stop session with status "stopped"')),
        ("stopped", "resume", (200, "active")),
        ("stopped", "messages", (400, not_active("stopped").text)),
        ("ended", "pause", (410, "The session has ended")),
        ("ended", "stop", (410, "The session has ended")),
        ("ended", "resume", (410, "The session has ended")),
        ("ended", "interrupt", (400, not_active("ended").text)),
        ("ended", "messages", (400, not_active("ended").text)),
    ],
)
async def test_change_is_made_or_refused(us, in_state, state, action, expected):
    """Each has its status, and words that say why not."""
    session = await in_state(state)
    code, body = await ask(us, session, action, {"content": "hi"})
    assert expected == (code, body["session"]["status"] if code == 200 else body["error"])
    if code == 200:
        assert body["session"]["status"] == await us.status(session)


@pytest.mark.parametrize("action", ["pause", "stop", "resume", "interrupt"])
async def test_session_of_another_is_not_there(daemon, session, action):
    """No action reaches another tenant's session."""
    expected = {"error": f'There is no session "{session}"', "statusCode": 404}
    assert (404, expected) == await ask(daemon.them, session, action)
    assert (404, expected) == await ask(daemon.them, session, "config", {"model": "m"}, "PATCH")
    assert "active" == await daemon.us.status(session)


async def test_pause_keeps_the_sandbox(us, session):
    """Resuming is warm: the same processes, and the conversation goes on."""
    await us.say(session, "one")
    before = bridges()
    assert "paused" == await becomes(us, session, "pause")
    assert before == bridges()
    assert "active" == await becomes(us, session, "resume")
    assert before == bridges()
    assert '["one","RECALL"]' == text_of(await us.say(session, "RECALL"))
    assert [
        {"action": "created"},
        {"action": "paused"},
        {"action": "resumed", "path": "warm"},
    ] == await actions(us, session)
    pool = (await us.get("/health")).json()["pool"]
    assert (1, 0) == (pool["resumeWarmHits"], pool["resumeColdHits"])


async def test_stop_frees_the_sandbox(us, session):
    """No process is left, and the files can still be read."""
    await us.say(session, "WRITE: note.txt kept")
    before = bridges()
    assert "stopped" == await becomes(us, session, "stop")
    await until(lambda: not bridges() & before)
    file = await us.get(f"/api/sessions/{session}/files/note.txt")
    assert ("kept", "snapshot") == (file.text, file.headers["X-Ash-Source"])
    assert 0 == (await us.get("/health")).json()["activeSandboxes"]


EVERYTHING = {
    "model": "first",
    "systemPrompt": "be brief",
    "mcpServers": {"tools": {"command": "true"}},
    "permissionMode": "default",
    "extraEnv": {"SECRET_PLAN": "none"},
    "disallowedTools": ["Read"],
}


async def with_everything(us):
    """A session that was asked for all there is, and has done something."""
    session = await us.create(**EVERYTHING)
    await us.say(session, "one")
    await us.say(session, "BASH: echo two > file.txt")
    return session


async def shows_everything(us, session):
    """Its files, its conversation and its settings are there."""
    frames = await us.say(session, "RECALL")
    assert ["one", "BASH: echo two > file.txt", "RECALL"] == json.loads(text_of(frames))
    shown = init(frames)
    assert ("first", "default") == (shown["model"], shown["permissionMode"])
    assert ["tools"] == [server["name"] for server in shown["mcp_servers"]]
    assert "Read" not in shown["tools"]
    said = text_of(await us.say(session, "BASH: cat file.txt; echo $SECRET_PLAN"))
    assert "done: two\nnone" == said


async def test_cold_resume_brings_all_back(us, agent):
    """A new sandbox has the files, the conversation and the settings of the last one."""
    session = await with_everything(us)
    before = bridges()
    await becomes(us, session, "stop")
    await until(lambda: not bridges() & before)
    assert "active" == await becomes(us, session, "resume")
    assert not bridges() & before
    await shows_everything(us, session)
    resumed = {"action": "resumed", "path": "cold", "source": "local"}
    assert resumed == (await actions(us, session))[-1]
    pool = (await us.get("/health")).json()["pool"]
    assert (1, 1) == (pool["resumeColdHits"], pool["resumeColdLocalHits"])


async def test_session_survives_a_restart(data_dir):
    """After a restart it is paused, and resumes with all it had."""
    async with running(settings(data_dir)) as daemon:
        await daemon.us.deploy()
        session = await with_everything(daemon.us)
    async with running(settings(data_dir)) as daemon:
        assert "paused" == await daemon.us.status(session)
        assert "active" == await becomes(daemon.us, session, "resume")
        await shows_everything(daemon.us, session)


async def test_idle_session_gives_its_sandbox_up(data_dir):
    """The sweep pauses it; resuming is cold then, and it has its files."""
    async with running(settings(data_dir, idle_timeout_ms=300)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        await daemon.us.say(session, "WRITE: note.txt kept")
        await daemon.us.becomes(session, "paused")
        await until(lambda: not bridges())
        paused = {"action": "paused", "reason": "idle"}
        assert paused == (await actions(daemon.us, session))[-1]
        await becomes(daemon.us, session, "resume")
        resumed = {"action": "resumed", "path": "cold", "source": "local"}
        assert resumed in await actions(daemon.us, session)


async def test_session_without_room_is_evicted(data_dir):
    """A new one takes the place of the one that waits; both can go on in turn."""
    async with running(settings(data_dir, max_sandboxes=1)) as daemon:
        await daemon.us.deploy()
        first = await daemon.us.create()
        await daemon.us.say(first, "one")
        second = await daemon.us.create()
        assert ["paused", "active"] == [await daemon.us.status(s) for s in (first, second)]
        reason = {"action": "paused", "reason": "another session needed the room"}
        assert reason == (await actions(daemon.us, first))[-1]
        assert "active" == await becomes(daemon.us, first, "resume")
        assert "paused" == await daemon.us.status(second)
        assert '["one","RECALL"]' == text_of(await daemon.us.say(first, "RECALL"))


async def test_broken_session_can_be_resumed(us, session):
    """After its sandbox died it goes on with a new one."""
    await us.say(session, "one")
    for pid in bridges():
        with suppress(ProcessLookupError):
            os.kill(pid, 9)
    await us.becomes(session, "error")
    assert "active" == await becomes(us, session, "resume")
    assert '["one","RECALL"]' == text_of(await us.say(session, "RECALL"))


@pytest.mark.parametrize(("action", "status"), [("pause", "paused"), ("stop", "stopped")])
async def test_running_turn_ends_first(us, session, action, status):
    """Its last frame says that it was stopped."""
    async with us.sending(session, SLOW, includePartialMessages=True) as stream:
        await stream.until("text_delta")
        assert status == await becomes(us, session, action)
        frames = await stream.rest()
    assert {"sessionId": session, "reason": "stopped"} == frames[-1].value


async def test_interrupt_ends_the_turn_and_keeps_the_session(us, session):
    """It answers when the turn has ended; without a turn there is nothing to do."""
    assert (200, {"interrupted": False, "turn": "idle"}) == await ask(us, session, "interrupt")
    async with us.sending(session, SLOW, includePartialMessages=True) as stream:
        await stream.until("text_delta")
        answer = await ask(us, session, "interrupt")
        frames = await stream.rest()
    assert (200, {"interrupted": True, "turn": "running"}) == answer
    assert {"sessionId": session, "reason": "interrupted"} == frames[-1].value
    assert "echo: next" == text_of(await us.say(session, "next"))


async def test_agent_that_does_not_stop_leaves_its_session_paused(us, session, monkeypatch):
    """It is killed in the end; the session has not failed, and goes on with a new sandbox."""
    monkeypatch.setattr(Turn.stop, "__defaults__", (0.2,))
    async with us.sending(session, SLOW, includePartialMessages=True) as stream:
        await stream.until("text_delta")
        for pid in bridges():
            os.kill(pid, 19)
        assert (200, {"interrupted": True, "turn": "running"}) == await ask(
            us, session, "interrupt"
        )
        frames = await stream.rest()
    assert {"sessionId": session, "reason": "interrupted"} == frames[-1].value
    await us.becomes(session, "paused")
    assert "active" == await becomes(us, session, "resume")


async def test_config_holds_from_the_next_message_on(us, session):
    """Null takes a setting back, what is not named stays; a cold resume has it, too."""
    body = {"model": "other", "disallowedTools": ["Read"], "betas": ["b"]}
    code, answer = await ask(us, session, "config", body, "PATCH")
    assert (200, "other") == (code, answer["session"]["model"])
    shown = init(await us.say(session, "hi"))
    assert "other" == shown["model"]
    assert "Read" not in shown["tools"]
    _, answer = await ask(us, session, "config", {"betas": None}, "PATCH")
    assert {"disallowedTools": ["Read"]} == answer["session"]["config"]
    await becomes(us, session, "stop")
    await becomes(us, session, "resume")
    shown = init(await us.say(session, "hi"))
    assert "other" == shown["model"]
    assert "Read" not in shown["tools"]


async def test_config_that_does_not_fit_is_refused(us, session):
    """The error names the field; an ended session is gone."""
    code, answer = await ask(us, session, "config", {"model": 1}, "PATCH")
    assert 400 == code
    assert answer["error"].startswith("model:")
    await us.delete(f"/api/sessions/{session}")
    assert 410 == (await ask(us, session, "config", {"model": "m"}, "PATCH"))[0]


@pytest.mark.parametrize("state", ["active", "paused", "stopped"])
async def test_message_may_resume_its_session(us, in_state, state):
    """With `resume=auto` it is sent to a session that is active then."""
    session = await in_state(state)
    frames = await us.say(session, "hello", options="?resume=auto")
    assert "echo: hello" == text_of(frames)
    assert "active" == await us.status(session)


async def test_server_may_resume_by_itself(data_dir):
    """As it is configured, unless the message says no."""
    async with running(settings(data_dir, auto_resume=True)) as daemon:
        await daemon.us.deploy()
        session = await daemon.us.create()
        await becomes(daemon.us, session, "stop")
        refused = await ask(daemon.us, session, "messages?resume=no", {"content": "hi"})
        assert (400, not_active("stopped").text) == (refused[0], refused[1]["error"])
        assert "echo: hello" == text_of(await daemon.us.say(session, "hello"))


async def test_message_does_not_bring_back_what_has_ended(us, in_state):
    """Ended is for good; a word that is no option is refused."""
    session = await in_state("ended")
    code, answer = await ask(us, session, "messages?resume=auto", {"content": "hi"})
    assert (410, "The session has ended") == (code, answer["error"])
    code, answer = await ask(us, session, "messages?resume=yes", {"content": "hi"})
    assert (400, True) == (code, answer["error"].startswith("resume:"))


async def test_racing_resumes_start_one_sandbox(us, session):
    """All who ask get the active session that one of them has made."""
    await becomes(us, session, "stop")
    answers = []

    async def resume():
        answers.append(await ask(us, session, "resume"))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(resume)
    codes = [code for code, _ in answers]
    assert [200] * 5 == codes
    assert "active" == await us.status(session)
    resumed = [each for each in await actions(us, session) if each["action"] == "resumed"]
    assert 1 == len(resumed)
    assert 1 == (await us.get("/health")).json()["activeSandboxes"]
