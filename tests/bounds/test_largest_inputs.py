"""The largest bodies that each route takes, whatever is in them, hold nobody up.

The daemon runs in the loop of the test, which measures the CPU time of each of its steps. The
client is a thread with a blocking socket.
"""

import base64
import os
import socket

import pytest
import trio

from tests.support.daemon import KEY, running, settings
from tests.support.loop_steps import loop_steps

pytestmark = pytest.mark.process

# In ms. What must hold is 20; the rest is for slow machines.
LONGEST_STEP = 100

KB, MB = 1024, 1024 * 1024


@pytest.fixture
async def daemon(tmp_path):
    async with running(settings(tmp_path / "data", isolation="none")) as daemon:
        yield daemon


def post(url, path, body):
    """The status of the answer. The connection is used once."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        try:
            connection.sendall(head.encode())
            connection.sendall(body)
        except BrokenPipeError:
            pass
        answer = b""
        while b"\r\n" not in answer and (part := connection.recv(65536)):
            answer += part
        while connection.recv(65536):
            pass
    return int(answer.split()[1])


async def asked(daemon, path, body):
    return await trio.to_thread.run_sync(post, daemon.us.base_url, path, body)


def agent(**fields):
    inner = b"".join(b',"%s":%s' % (name.encode(), value) for name, value in fields.items())
    return b'{"name":"a"%s}' % inner


def listed(item, size):
    return b"[%s]" % b",".join([item] * (size // (len(item) + 1)))


def files(count, size):
    content = base64.b64encode(os.urandom(size))
    many = (b'{"path":"f%d","content":"%s"}' % (at, content) for at in range(count))
    return b"[%s]" % b",".join([b'{"path":"CLAUDE.md","content":"eA=="}', *many])


PROMPT = b'"Be brief."'
DEPLOYS = {
    "hosts": (agent(systemPrompt=PROMPT, config=b'{"network":%s}' % listed(b'"a.b"', 3 * MB)), 400),
    "lists": (agent(systemPrompt=PROMPT, config=b'{"x":%s}' % listed(b"[]", 3 * MB)), 400),
    "variables": (
        agent(systemPrompt=PROMPT, env=b"{%s}" % b",".join(b'"A%d":""' % n for n in range(9999))),
        400,
    ),
    "small files": (agent(files=files(2000, 600)), 201),
    "too many files": (agent(files=files(10_000, 1)), 400),
    "a large file": (agent(files=files(1, 20 * 30_000)), 201),
    "a long prompt": (agent(systemPrompt=b'"%s"' % (b'x \\"' * 30_000)), 201),
    "halves of characters": (agent(systemPrompt=b'"%s"' % (b"\\ud800" * 100_000)), 400),
    "quotes": (b'"",' * (5 * MB), 400),
    "blanks": (b" " * (20 * MB), 400),
    "depth": (b"[" * (3 * MB), 400),
}


@pytest.mark.parametrize(("body", "status"), DEPLOYS.values(), ids=DEPLOYS)
async def test_large_deploy_holds_nobody_up(daemon, body, status):
    """Whether it is taken or refused."""
    with loop_steps() as steps:
        assert status == await asked(daemon, "/api/agents", body)
    assert steps.longest < LONGEST_STEP, steps.task


def session(**fields):
    return agent(**fields).replace(b'"name":"a"', b'"agent":"a"')


CREATES = {
    "rules": (session(allowedTools=listed(b'"Read"', 900 * KB)), 400),
    "servers": (
        session(mcpServers=b"{%s}" % b",".join(b'"%d":{"url":""}' % n for n in range(9999))),
        400,
    ),
    "lists": (session(subagents=b'{"x":%s}' % listed(b"[]", 900 * KB)), 400),
    "digits": (session(limits=b'{"memoryMb":%s}' % (b"9" * 900 * KB)), 400),
    "halves of characters": (session(systemPrompt=b'"%s"' % (b"\\ud800" * 150_000)), 400),
    "names": (b"{%s}" % b",".join(b'"a%d":0' % n for n in range(80_000)), 400),
}


@pytest.mark.parametrize(("body", "status"), CREATES.values(), ids=CREATES)
async def test_large_create_holds_nobody_up(daemon, body, status):
    """Whether it is taken or refused."""
    with loop_steps() as steps:
        assert status == await asked(daemon, "/api/sessions", body)
    assert steps.longest < LONGEST_STEP, steps.task


def message(content):
    return b'{"content":%s}' % content


MESSAGES = {
    "a text that is too long": message(b'"%s"' % (b"x" * 600_000)),
    "pictures": message(b'[{"type":"image","data":"%s"}]' % (b"x" * 16 * MB)),
    "blocks": message(listed(b'{"type":"text"}', 8 * MB)),
    "lists": message(b'[{"type":"text","x":%s}]' % listed(b"[]", 8 * MB)),
    "halves of characters": message(b'"%s"' % (b"\\ud800" * (8 * MB // 6))),
    "bytes that are no text": message(b'"%s"' % (b"\xff" * 8 * MB)),
    "names": b"{%s}" % b",".join(b'"a%d":0' % n for n in range(500_000)),
}


@pytest.mark.parametrize("body", MESSAGES.values(), ids=MESSAGES)
async def test_large_message_holds_nobody_up(daemon, body):
    """It is read before anything else, so that a bad one is refused whatever its session is."""
    await daemon.us.deploy()
    session = await daemon.us.create()
    with loop_steps() as steps:
        status = await asked(daemon, f"/api/sessions/{session}/messages", body)
    assert status in {200, 400}
    assert steps.longest < LONGEST_STEP, steps.task


async def test_large_bodies_together_have_a_bound(daemon, monkeypatch):
    """Who comes when the room is taken is told to come back."""
    monkeypatch.setattr("ash.http.large_bodies.MAX_HELD", MB)
    assert 503 == await asked(daemon, "/api/agents", b" " * 2 * MB)
    monkeypatch.undo()
    assert 201 == await asked(daemon, "/api/agents", agent(systemPrompt=PROMPT))
