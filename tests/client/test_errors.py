"""Every failure is one exception, with what the server said and what to do."""

import socket

import httpx
import pytest

from ash import AshApiError
from ash.client.address import ServerAddress
from ash.client.request import answer
from ash.client.sandbox_calls import exec  # noqa: A004 - the API's name
from ash.client.session_calls import get_session
from ash.errors import AshError


def closed_url():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_what_the_server_said(script):
    """Its words and its status, whatever is called."""
    with pytest.raises(AshApiError, match='There is no agent "nobody"') as caught:
        await script.call("create_session", "nobody")

    assert 404 == caught.value.status
    assert isinstance(caught.value, AshError)


async def test_state_that_does_not_allow_it(script, session):
    """The state is named."""
    await script.call("end_session", session)

    with pytest.raises(AshApiError, match="ended") as caught:
        await script.call("resume_session", session)
    assert 410 == caught.value.status


async def call(script):
    await script.call("list_agents")


async def send(script):
    await script.take(lambda _: True, "send_message", "s1", "hello")


async def watch(script):
    await script.take(lambda _: True, "stream_session", "s1")


@pytest.mark.parametrize("ask", [call, send, watch])
async def test_wrong_key(script, ask):
    """Where a key was looked for, never what it was."""
    with pytest.raises(AshApiError, match="the server refused the key; looked for") as caught:
        await ask(script.at(script.url, "topsecret"))

    assert 401 == caught.value.status
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize("ask", [call, send, watch])
async def test_server_that_is_not_there(script, ask):
    """Which one, and how to start one; at once, also for a stream."""
    absent = script.at(closed_url())

    with pytest.raises(AshApiError, match="start a server with `ash start`") as caught:
        await ask(absent)
    assert 0 == caught.value.status
    assert absent.url in caught.value.text


@pytest.mark.parametrize("body", ["<html>", "[]", "{}", '{"session": {"id": 1}}', ""])
def test_answer_that_does_not_fit(body):
    """A server that answers something else is named as such."""
    request = httpx.Request("GET", "http://127.0.0.1:9/api/sessions/s1")
    response = httpx.Response(200, text=body, request=request)

    with pytest.raises(AshApiError, match=r"api/sessions/s1 did .* is this an ash server"):
        answer(get_session("s1"), response, ServerAddress("http://127.0.0.1:9", "k", ""))


def test_answer_with_half_a_character():
    """What a command prints is what is told, also where it is half a surrogate pair."""
    text = '{"exitCode": 0, "stdout": "\\ud83d", "stderr": ""}'
    response = httpx.Response(200, text=text, request=httpx.Request("POST", "http://x/"))

    assert "\ud83d" == answer(exec("s1", "x"), response, ServerAddress("http://x", "k", "")).stdout
