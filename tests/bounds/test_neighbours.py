"""Whatever one session or client does within its limits, another session goes on as before.

Each harm is small here, so that all of them take seconds. What it would do without its bound shows
all the same: in the longest step of the loop, in the memory, in the database.
"""

import base64
import json
import os
import socket

import pytest
import trio

from tests.support.daemon import KEY, running, settings
from tests.support.victim import Victim

pytestmark = pytest.mark.process

MB = 1024 * 1024


@pytest.fixture
async def daemon(tmp_path):
    async with running(
        settings(tmp_path / "data", sandbox_disk_mb=100, sandbox_memory_mb=256)
    ) as daemon:
        yield daemon


@pytest.fixture
async def victim(daemon, tmp_path):
    await daemon.us.deploy()
    return Victim(daemon, await daemon.us.create(), tmp_path / "data")


def ask(url, method, path, fields=None, *, key=KEY, taken=None):
    """The answer's bytes, the head with them; `taken` says how many of them are read at most."""
    body = b"" if fields is None else json.dumps(fields).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        answer = bytearray()
        while (taken is None or len(answer) < taken) and (part := connection.recv(65536)):
            answer += part
    return bytes(answer)


async def asks(daemon, *request, **options):
    call = lambda: ask(daemon.us.base_url, *request, **options)  # noqa: E731
    return await trio.to_thread.run_sync(call, limiter=trio.CapacityLimiter(1))


async def says(daemon, session, content, **options):
    path = f"/api/sessions/{session}/messages"
    return await asks(daemon, "POST", path, {"content": content}, **options)


# How much harm is done. `make test ARGS="tests/bounds -n 0 -s"` shows the figures, and ASH_HARM=20
# does it in sizes that would have stopped a daemon without bounds.
HARM = int(os.environ.get("ASH_HARM", "1"))

LINKS = "import os; open('f', 'w'); [os.link('f', str(n)) for n in range({})]"
COMMANDS = {
    "many processes": "for i in $(seq 300); do sleep 1 & done 2>/dev/null; wait",
    "much memory": "head -c 1G /dev/zero | tail",
    "much CPU": "timeout 1 sh -c 'while :; do :; done & while :; do :; done'",
    "many lines": f"yes | head -c {30 * HARM}000000",
    "a line without end": f"head -c {30 * HARM}000000 /dev/zero",
    "many files": f"mkdir d; cd d; for i in $(seq {3000 * HARM}); do : > $i; done",
    "many names": f'python3 -c "{LINKS.format(9000 * HARM)}"',
    "deep folders": "for i in $(seq 300); do mkdir d; cd d; done",
    "much of the disk": "head -c 300M /dev/zero > large",
    "noise for the log": f"yes noise | head -c {20 * HARM}000000 >&2",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_agent_that_does_much_harms_no_other(daemon, victim, command):
    """Its own limits end it, or it ends."""
    other = await daemon.us.create()
    async with victim.beside():
        await says(daemon, other, f"BASH: {command}")
    victim.figures.check()


async def test_command_of_a_client_that_prints_much_harms_no_other(daemon, victim):
    """A megabyte of it is kept."""
    other = await daemon.us.create()
    async with victim.beside():
        for command in ("yes | head -c 50000000", "head -c 9999999 /dev/zero | tr '\\0' '\\1'"):
            await asks(daemon, "POST", f"/api/sessions/{other}/exec", {"command": command})
    victim.figures.check(database=MB)


async def test_install_script_that_prints_much_harms_no_other(daemon, victim):
    """The end of it is kept."""
    script = "yes '' | head -c 2000000; yes '' | head -c 2000000 >&2"
    files = {"CLAUDE.md": "x", "install.sh": script}
    sent = [
        {"path": path, "content": base64.b64encode(text.encode()).decode()}
        for path, text in files.items()
    ]
    async with victim.beside():
        await asks(daemon, "POST", "/api/agents", {"name": "noisy", "files": sent})
        assert b" 201 " in await asks(daemon, "POST", "/api/sessions", {"agent": "noisy"})
    victim.figures.check(database=4 * MB)


async def test_large_message_harms_no_other(daemon, victim):
    """It is stored once, and is in memory a few times."""
    other = await daemon.us.create()
    content = [{"type": "text", "text": "x" * 8 * MB}]
    async with victim.beside():
        await says(daemon, other, content)
    victim.figures.check(database=70 * MB)


async def test_clients_that_read_nothing_harm_no_other(daemon, victim):
    """They share what they are shown."""
    other = await daemon.us.create()
    async with victim.beside(), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(
                lambda: asks(daemon, "GET", f"/api/sessions/{other}/stream", taken=1)
            )
        await says(daemon, other, "BIG: 2000", taken=1)
    victim.figures.check()


async def test_clients_that_come_and_go_harm_no_other(daemon, victim):
    """With a key and without one."""
    async with victim.beside(), trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(lambda: asks(daemon, "GET", "/health", key="none"))
            nursery.start_soon(lambda: asks(daemon, "GET", "/api/sessions"))
    victim.figures.check(database=MB)


async def test_session_that_is_changed_all_the_time_harms_no_other(daemon, victim):
    """Whatever the order of what it is asked to do."""
    other = await daemon.us.create()
    async with victim.beside():
        for _ in range(HARM):
            for what in ("interrupt", "pause", "resume", "fork", "stop", "resume"):
                await asks(daemon, "POST", f"/api/sessions/{other}/{what}", {})
    victim.figures.check(database=2 * MB)
