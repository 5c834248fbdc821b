"""The list of a session's messages, of which one may be megabytes."""

import json
from types import SimpleNamespace

import pytest
import trio

from ash.errors import Unauthorized
from ash.http import message_list
from ash.http.message_list import MessageLists, message_pieces
from ash.model import Message
from ash.store import history
from tests.support.loop_steps import loop_steps


def message(sequence, content):
    return Message(
        id=f"m{sequence}",
        session_id="s",
        tenant_id="t",
        role="assistant",
        content=content,
        sequence=sequence,
        created_at="2026",
    )


class Sessions:
    """Three messages; a page ends as in the store."""

    def __init__(self, *contents):
        self.messages = [message(*each) for each in enumerate(contents, 1)]

    async def message_page(self, tenant, session_id, *, after, limit):
        await trio.lowlevel.checkpoint()
        full, page = history._Page(history._message_size), []
        for each in self.messages[after : after + limit]:
            page.append(each)
            if full(each):
                break
        return page


class Keys:
    def tenant_of(self, key):
        if key != b"good":
            raise Unauthorized("no")
        return "t"


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(history, "PAGE_BYTES", 10)


def lists(sessions):
    return MessageLists(SimpleNamespace(keys=Keys(), sessions=sessions))


async def asked(lists, query=b"", method="GET", key=b"good", taken=None):
    """The status and the JSON of the answer; `taken` is called before each part is taken."""
    status, body = 0, b""

    async def send(event):
        nonlocal status, body
        status = event.get("status", status)
        if taken is not None:
            await taken()
        body += event.get("body", b"")

    scope = {
        "type": "http",
        "method": method,
        "path": "/api/sessions/s/messages",
        "query_string": query,
        "headers": [(b"authorization", key)],
        "client": None,
    }
    await lists.send("s", scope, send)
    return status, json.loads(body) if body.endswith(b"}") else body


@pytest.mark.parametrize("content", ["x", '\u00e9\u2028\U0001f600"\\\n' * 100_000, "y" * 65_537])
def test_message_in_pieces_is_the_message(content):
    """Wherever it is cut, characters and escapes stay whole."""
    whole = message(1, content)
    assert json.loads(b"".join(message_pieces(whole)))["content"] == content


@pytest.mark.parametrize(
    ("query", "expected"),
    [(b"", [1, 2, 3, 4]), (b"after=1&limit=2", [2, 3]), (b"limit=1", [1]), (b"after=9", [])],
)
async def test_list_has_all_that_was_asked_for(query, expected):
    """However many pages it takes."""
    found = lists(Sessions("a" * 20, "b", "c" * 20, "d"))
    status, body = await asked(found, query)
    assert (200, expected) == (status, [each["sequence"] for each in body["messages"]])


@pytest.mark.parametrize("contents", [["a"], ["a" * 20]])
async def test_head_has_no_body(contents):
    """HTTP has it so."""
    assert (200, b"") == await asked(lists(Sessions(*contents)), method="HEAD")


async def test_bad_question_is_refused():
    """As on every route: what is wrong is named."""
    status, body = await asked(lists(Sessions()), b"limit=0")
    assert 400 == status
    assert body["error"].startswith("limit: expected a whole number")
    assert 401 == (await asked(lists(Sessions()), key=b"bad"))[0]


async def test_few_large_lists_are_sent_at_a_time(nursery, autojump_clock, monkeypatch):
    """Each holds a large message. One more waits; when that takes too long it is told so."""
    monkeypatch.setattr(message_list, "LISTS_AT_ONCE", 1)
    found, gate = lists(Sessions("a" * 20)), trio.Event()
    nursery.start_soon(asked, found, b"", "GET", b"good", gate.wait)
    await trio.testing.wait_all_tasks_blocked()
    assert 503 == (await asked(found))[0]
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert 200 == (await asked(found))[0]


async def test_client_that_takes_a_large_list_too_slowly_is_cut(autojump_clock):
    """Else a few could keep all others waiting."""
    found = lists(Sessions("a" * 20))

    async def slowly():
        await trio.sleep(100)

    _, body = await asked(found, taken=slowly)
    assert not isinstance(body, dict)
    assert 200 == (await asked(found))[0]


async def test_large_message_holds_nobody_up():
    """It is written in pieces."""
    found = lists(Sessions("\n" * 10_000_000))
    with loop_steps() as steps:
        assert 200 == (await asked(found, taken=trio.lowlevel.checkpoint))[0]
    assert steps.longest < 100
