"""A daemon that is killed while it makes something: the next one clears it away."""

import pytest
import trio

from tests.support.crash import CUT_OFF, Ashd
from tests.support.daemon import KEY, Client
from tests.support.processes import until

# For a copy to take long enough to be seen at it.
FILES = 20_000


@pytest.fixture
async def ashd(data_dir):
    ashd = Ashd(data_dir, "--engine", "scripted")
    await ashd.start()
    yield ashd
    await ashd.stop()


def half(folder):
    return any(path.name.endswith(".new") for path in folder.iterdir())


async def try_to(request):
    try:
        await request
    except CUT_OFF:
        return
    raise AssertionError("it was done before the daemon was killed")


async def test_fork_is_whole_or_not_there(ashd, data_dir):
    """The parent has all its files; of the fork there is neither a folder nor a session."""
    async with Client(ashd.url, KEY) as us:
        await us.deploy()
        parent = await us.create()
        many = {"command": f"mkdir many && cd many && seq {FILES} | xargs touch"}
        assert 0 == (await us.post(f"/api/sessions/{parent}/exec", json=many)).json()["exitCode"]
        kept = data_dir / "sessions"
        kept.mkdir()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_to, us.post(f"/api/sessions/{parent}/fork", json={}))
            await until(lambda: half(kept))
            await ashd.kill()
    await ashd.start()
    async with Client(ashd.url, KEY) as us:
        assert [parent] == [path.name for path in kept.iterdir()]
        sessions = (await us.get("/api/sessions")).json()["sessions"]
        assert [parent] == [session["id"] for session in sessions]
        assert 200 == (await us.post(f"/api/sessions/{parent}/resume")).status_code
        count = {"command": "ls many | wc -l"}
        answer = await us.post(f"/api/sessions/{parent}/exec", json=count)
        assert f"{FILES}\n" == answer.json()["stdout"]


async def test_session_begins_whole(ashd, data_dir, tmp_path):
    """One whose files were being copied when the daemon was killed has all of them afterwards."""
    agent = tmp_path / "agent"
    agent.mkdir()
    (agent / "CLAUDE.md").write_text("be kind")
    for number in range(FILES):
        (agent / f"{number}").touch()
    live = data_dir / "sandboxes"
    live.mkdir(exist_ok=True)
    async with Client(ashd.url, KEY) as us:
        await us.deploy(systemPrompt=None, path=str(agent))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(try_to, us.post("/api/sessions", json={"agent": "helper"}))
            await until(lambda: half(live))
            await ashd.kill()
    await ashd.start()
    async with Client(ashd.url, KEY) as us:
        assert [] == [path.name for path in live.iterdir()]
        (session,) = (await us.get("/api/sessions")).json()["sessions"]
        assert "paused" == session["status"]
        assert 200 == (await us.post(f"/api/sessions/{session['id']}/resume")).status_code
        count = {"command": "ls | wc -l"}
        answer = await us.post(f"/api/sessions/{session['id']}/exec", json=count)
        assert f"{FILES + 1}\n" == answer.json()["stdout"]
