"""What is read of a conversation in the store, for a fork or a transcript that is lost."""

import json

import pytest
from msgspec import Raw

from ash.sessions import remembered
from ash.sessions.remembered import Said, history, last_stored
from ash.store.history import NewMessage, TurnEnd
from tests.sessions.conftest import SESSION

CONVERSATION = "4f7f6bd5-4fd1-4a0c-9a4e-0f9c1d4be000"
RESET = {"type": "conversation_reset"}
BOUNDARY = {"type": "system", "subtype": "compact_boundary"}
NOISE = {"type": "system", "subtype": "init"}


def said(text, **more):
    whole = {"type": "assistant", "uuid": text, "session_id": CONVERSATION, **more}
    return {**whole, "message": {"content": text, "model": "m"} | more.pop("message", {})}


@pytest.fixture
def stored(scene):
    """A function that stores turns, each a prompt and what the agent wrote then."""

    async def store(*turns, open_turn=False):
        for number, (prompt, *messages) in enumerate(turns):
            last = number == len(turns) - 1
            content = json.dumps({"type": "user", "content": prompt})
            begun = {"start_frame": 1, "version": "1", "reserve_frames_to": 1, "now": "2026"}
            turn = await scene.store.begin_turn(SESSION, 1, content, **begun)
            texts = [text if isinstance(text, str) else json.dumps(text) for text in messages]
            numbered = [NewMessage(text, 1) for text in texts]
            await scene.store.append(SESSION, 1, numbered, now="2026")
            if not (last and open_turn):
                await scene.store.end_turn(turn, SESSION, 1, TurnEnd("completed", 1), now="2026")
        return scene.store

    return store


def texts(messages):
    """What stands in each: the prompt, or the message's content."""
    found = [json.loads(bytes(raw)) for raw in messages]
    return [one["content"] if "content" in one else one["message"]["content"] for one in found]


async def test_last_said_is_the_agent_s_own(stored):
    """Neither that of a subagent nor that of a turn that still runs."""
    inner = said("inner", parent_tool_use_id="t")
    store = await stored(["one", said("a"), NOISE, inner], ["two", said("b")], open_turn=True)
    assert Said("a", CONVERSATION) == await last_stored(store, SESSION)


async def test_nothing_is_said_after_a_clear(stored):
    """Until the agent says something again."""
    store = await stored(["one", said("a")], ["/clear", RESET, NOISE])
    assert Said(cleared=True) == await last_stored(store, SESSION)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"session_id": "../x"}, Said("a", None)),
        ({"session_id": 5}, Said("a", None)),
        ({"uuid": 5}, Said()),
    ],
)
async def test_what_the_agent_forged_is_not_taken(stored, more, expected):
    """An id of a conversation is a UUID, and a message without its own is passed over."""
    store = await stored(["one", said("a", **more)])
    assert expected == await last_stored(store, SESSION)


async def test_search_for_the_last_said_has_an_end(stored, monkeypatch):
    """An agent may have written very much without saying anything."""
    monkeypatch.setattr(remembered, "SEARCHED", 2 * remembered.PAGE)
    store = await stored(["one", said("a"), *[NOISE] * 3 * remembered.PAGE])
    assert Said() == await last_stored(store, SESSION)


async def test_history_is_what_the_model_was_told(stored):
    """Prompts, answers and results of tools, in order; nothing of subagents or the CLI's own."""
    result = {"type": "user", "uuid": "u", "message": {"content": "result"}}
    store = await stored(
        ["one", NOISE, said("a"), said("inner", parent_tool_use_id="t"), result, "5", '"\\ud800"'],
        ["two", said("error", message={"model": "<synthetic>"}), said("b")],
        ["three", said("c")],
        open_turn=True,
    )
    assert ["one", "a", "result", "two", "b"] == texts(await history(store, SESSION))


@pytest.mark.parametrize("begin", [RESET, BOUNDARY])
async def test_history_begins_anew(stored, begin):
    """What was cleared or summed up is not part of it; the summary is."""
    summary = {"type": "user", "uuid": "u", "message": {"content": "summary"}}
    store = await stored(["one", said("a")], ["/x", begin, summary], ["two", said("b")])
    assert ["summary", "two", "b"] == texts(await history(store, SESSION))


async def test_history_that_is_too_long_begins_with_a_prompt(stored, monkeypatch):
    """The older messages are left out, and answers whose prompt is missing with them."""
    monkeypatch.setattr(remembered, "HISTORY_BYTES", 500)
    turns = [[f"prompt {number}", said(f"answer {number}")] for number in range(10)]
    store = await stored(*turns)
    found = texts(await history(store, SESSION))
    assert "answer 9" == found[-1]
    assert found[0].startswith("prompt")
    assert 1 < len(found) < 20


async def test_history_is_byte_for_byte(stored):
    """As the agent wrote it."""
    whole = json.dumps(said("a"))
    store = await stored(["one", whole])
    assert Raw(whole.encode()) == (await history(store, SESSION))[1]


async def test_history_of_a_store_that_fails_is_empty(stored):
    """The conversation is lost then, but its sandbox is not."""
    store = await stored(["one", said("a")])
    store.failing["latest_messages"] = OSError()
    assert [] == await history(store, SESSION)
