"""Messages to an agent: the whole way, from the client to the engine and back."""

import json
import os
import signal
from pathlib import Path

import pytest

from ash.script import _UNICODE
from tests.support.processes import alive, descendants, until


def bridges():
    """The pids of the bridges that we have started, as the host knows them."""
    found = []
    for pid in descendants(os.getpid()):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if words[-3:-1] == [b"-m", b"bridge"] and b"bwrap" not in words[0] and words[1] == b"-P":
            found.append(pid)
    return found


def events(frames):
    return [frame.event for frame in frames]


def text_of(frame):
    """The text of an assistant's message."""
    return "".join(block["text"] for block in frame.value["message"]["content"])


def assistant(frames):
    messages = [frame for frame in frames if frame.event == "message"]
    (found,) = [frame for frame in messages if frame.value["type"] == "assistant"]
    return found


async def test_answer_comes_as_frames_in_order(us, session):
    """`session_start`, messages, `turn_complete`, `done`, with ids that only grow."""
    async with us.sending(session, "hello") as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        assert "no-cache, no-transform" == stream.headers["cache-control"]
        assert "no" == stream.headers["x-accel-buffering"]
        assert "*" == stream.headers["access-control-allow-origin"]
        frames = await stream.rest()
    assert "session_start" == frames[0].event
    assert ["turn_complete", "message", "done"] == events(frames[-3:])
    assert {"sessionId": session, "reason": "completed"} == frames[-1].value
    assert "echo: hello" == text_of(assistant(frames))
    again = await us.say(session, "again")
    ids = [frame.id for frame in [*frames, *again]]
    assert list(range(ids[0], ids[0] + len(ids))) == ids


async def test_messages_are_those_of_the_history(us, session):
    """What was shown is what is kept, byte for byte."""
    frames = await us.say(session, "BASH: echo hi")
    shown = [frame.data.decode() for frame in frames if frame.event == "message"]
    kept = [row["content"] for row in await us.history(session) if row["role"] == "assistant"]
    assert kept == shown


async def test_words_come_one_by_one(us, session):
    """With partial messages the first word is there before the last is thought of."""
    async with us.sending(session, "SLOW: 3 0.6", includePartialMessages=True) as stream:
        first = await stream.until("text_delta")
        assert {"delta": "tick0 "} == first.value
        assert "active" == await us.status(session)
        assert (await us.get("/health")).json()["pool"]["running"] == 1
        rest = await stream.rest()
    deltas = [frame.value["delta"] for frame in [first, *rest] if frame.event == "text_delta"]
    assert ["tick0 ", "tick1 ", "tick2 "] == deltas
    assert "".join(deltas) == text_of(assistant(rest))


async def test_tool_runs_in_the_sandbox(us, session):
    """A call and its result are frames and rows, and it has really been made."""
    frames = await us.say(session, "BASH: pwd; id -u; echo oh >&2")
    call = next(frame for frame in frames if frame.event == "tool_use").value
    result = next(frame for frame in frames if frame.event == "tool_result").value
    assert ("Bash", {"command": "pwd; id -u; echo oh >&2"}) == (call["name"], call["input"])
    assert (call["id"], "/workspace\n1000\noh") == (result["tool_use_id"], result["content"])
    rows = {row["type"]: json.loads(row["data"]) for row in await us.history(session, "events")}
    assert call["id"] == rows["tool_start"]["toolId"] == rows["tool_result"]["toolId"]


async def test_agent_remembers(us, session):
    """One conversation per session."""
    await us.say(session, "first")
    frames = await us.say(session, "RECALL")
    assert ["first", "RECALL"] == json.loads(text_of(assistant(frames)))


async def test_sessions_do_not_hear_each_other(us, session, agent):
    """What one is told the other does not know."""
    other = await us.create()
    await us.say(session, "a secret")
    frames = await us.say(other, "RECALL")
    assert ["RECALL"] == json.loads(text_of(assistant(frames)))


async def test_second_message_is_refused_while_a_turn_runs(us, session):
    """A 409 that says what to do, and the first turn goes on as if nothing had been."""
    async with us.sending(session, "SLOW: 2 0.4", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        response = await us.post(f"/api/sessions/{session}/messages", json={"content": "two"})
        assert (409, 409) == (response.status_code, response.json()["statusCode"])
        assert "A turn is running in this session" in response.json()["error"]
        frames = await stream.rest()
    assert {"sessionId": session, "reason": "completed"} == frames[-1].value
    users = [row["content"] for row in await us.history(session) if row["role"] == "user"]
    assert ['{"type":"user","content":"SLOW: 2 0.4"}'] == users


@pytest.mark.parametrize("ascii_only", [True, False], ids=["escaped", "as it is"])
async def test_two_megabytes_of_unicode_come_back_byte_for_byte(us, session, ascii_only):
    """Every kind of character survives the way there and back, and is kept as it was sent."""
    text = (_UNICODE + "\n") * (2 * 1024 * 1024 // len(_UNICODE.encode()) + 1)
    assert len(text.encode()) > 2 * 1024 * 1024
    content = json.dumps([{"type": "text", "text": text}], ensure_ascii=ascii_only)
    body = f'{{"content":{content}}}'.encode()
    response = await us.post(f"/api/sessions/{session}/messages", content=body)
    blocks = response.content.split(b"\n\n")
    message = next(block for block in blocks if b'"type":"assistant"' in block)
    shown = message.split(b"\ndata: ", 1)[1].decode()
    assert f"echo: {text}" == json.loads(shown)["message"]["content"][0]["text"]
    user, *answers = [row["content"] for row in await us.history(session)]
    assert f'{{"type":"user","content":{content}}}' == user
    assert shown in answers


async def test_answer_larger_than_the_ring_comes_whole(us, session, monkeypatch):
    """A client that keeps up is not cut, however large the frames are."""
    monkeypatch.setattr("ash.sessions.frame_ring.RING_BYTES", 64 * 1024)
    frames = await us.say(session, "BIG: 300")
    assert 300 * 1024 == len(text_of(assistant(frames)).encode())
    assert "done" == frames[-1].event


@pytest.mark.parametrize(
    ("script", "words"), [("FAIL: 500", "API Error"), ("CRASH", "killed by signal 9")]
)
async def test_turn_that_fails_ends_with_its_error(us, session, script, words):
    """One `error` in words, one `done`, and the session can go on."""
    frames = await us.say(session, script)
    assert ["error", "done"] == events(frames[-2:])
    assert words in frames[-2].value["error"]
    assert "error" == frames[-1].value["reason"]
    assert "echo: still there" == text_of(assistant(await us.say(session, "still there")))


async def test_death_of_the_bridge_ends_the_turn(us, session):
    """The stream ends with `error` and `done`, the session is `error`, nothing is left."""
    async with us.sending(session, "SLOW: 100 60", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        family = descendants(os.getpid())
        (bridge,) = bridges()
        os.kill(bridge, signal.SIGKILL)
        frames = await stream.rest()
    assert ["error", "done"] == events(frames[-2:])
    assert {"sessionId": session, "reason": "error"} == frames[-1].value
    assert "The agent's process ended" in frames[-2].value["error"]
    await us.becomes(session, "error")
    await until(lambda: not any(map(alive, family)))
    said = await us.post(f"/api/sessions/{session}/messages", json={"content": "hello?"})
    assert 400 == said.status_code
    assert said.json()["error"].startswith("Session is error: its log says why")


async def test_client_that_leaves_does_not_stop_the_turn(us, session):
    """The turn goes on, and its end is in the history."""
    async with us.sending(session, "SLOW: 2 0.4", includePartialMessages=True) as stream:
        await stream.until("text_delta")
    await us.completes(session)
    kinds = [row["type"] for row in await us.history(session, "events")]
    assert ["text", "turn_complete"] == kinds[-2:]
    assert "echo: next" == text_of(assistant(await us.say(session, "next")))


async def test_end_of_the_session_ends_its_turn(us, session):
    """Who follows the turn is told so by its last frame."""
    async with us.sending(session, "SLOW: 100 60", includePartialMessages=True) as stream:
        await stream.until("text_delta")
        response = await us.delete(f"/api/sessions/{session}")
        assert "ended" == response.json()["session"]["status"]
        frames = await stream.rest()
    assert {"sessionId": session, "reason": "stopped"} == frames[-1].value
    assert "error" not in events(frames)
