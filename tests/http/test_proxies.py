"""The recipes of docs/proxies.md, each run with its real proxy in front of a whole daemon."""

from base64 import b64encode
from random import Random

import pytest
import trio

from ash.http.server.tcp_server import TCPServer
from tests.support.daemon import KEY, PATIENCE, Client, running, settings
from tests.support.proxies import PROXIES, in_front

EIGHT_MB = Random(1).randbytes(8 * 1024 * 1024)


@pytest.fixture
def connections(monkeypatch):
    """The connections that the daemon has had."""
    begun = []
    run = TCPServer.run

    async def note(server):
        begun.append(server)
        await run(server)

    monkeypatch.setattr(TCPServer, "run", note)
    return begun


@pytest.fixture
async def daemon(tmp_path):
    async with running(settings(tmp_path / "data"), other_tenant=False) as daemon:
        yield daemon


async def last_frame(us, session, stream):
    """A stream without a `done` broke off, behind some proxies in silence: a client comes back."""
    (*_, last) = await stream.rest()
    if last.event == "done":
        return last
    async with us.watching(session, last_id=last.id) as again:
        return await again.until("done")


@pytest.mark.parametrize("name", PROXIES)
async def test_proxy_hands_on_what_comes_when_it_comes(daemon, connections, name):
    """The first delta comes while the turn runs, large files pass, and connections are shared."""
    port = int(daemon.url.rpartition(":")[2])
    async with in_front(name, port) as url, Client(url, KEY) as us:
        await us.deploy()
        session = await us.create()
        # This turn goes on for ten minutes, unless it is interrupted.
        turn = us.sending(session, "SLOW: 100 600", includePartialMessages=True)
        with trio.fail_after(PATIENCE):
            async with turn as stream:
                await stream.until("text_delta")
                await us.post(f"/api/sessions/{session}/interrupt")
                last = await last_frame(us, session, stream)
                assert ("done", "interrupted") == (last.event, last.value.get("reason"))
        files = [{"path": "large.bin", "content": b64encode(EIGHT_MB).decode()}]
        answer = await us.post(f"/api/sessions/{session}/files", json={"files": files})
        assert [True] == [file["written"] for file in answer.json()["files"]]
        large = await us.get(f"/api/sessions/{session}/files/large.bin")
        assert EIGHT_MB == large.content
        before = len(connections)
        for _ in range(10):
            assert 200 == (await us.get(f"/api/sessions/{session}")).status_code
        # Apache, for one, has a pool in each of its processes.
        assert PROXIES[name].reuses == (len(connections) - before < 5)
